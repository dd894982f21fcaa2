import resource
import threading
import time

import numpy as np
import onlining
import pytest
import safetensors.torch
import torch
from followed import Told, bundle_of, request_of
from onlining import Recorder

from larix.errors import StorageError
from larix.recipes.serving import RunMessages, messages_of
from larix.serve.engine import Engine
from larix.serve.models import Loading, Repository
from larix.serve.request import Request
from larix.train import checkpoint
from larix.train.online import Deltas, Published


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return onlining.begin(tmp_path_factory.mktemp("start")).folder


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return onlining.feed(tmp_path_factory.mktemp("feed"), rows=2400)


@pytest.fixture
def log(samples, tmp_path):
    with onlining.log_of(tmp_path / "log", samples) as opened:
        yield opened


def probe(samples):
    return samples.slice(1500, 40).combine_chunks().to_batches()[0]


def served(path, run, log, **settings):
    """A repository of the one bundle, which follows the run."""
    loading = Loading(follow={"problem": messages_of(run, log)}, **{"dense_s": 0.0} | settings)
    repository = Repository({"problem": path}, loading)
    repository.load("problem")
    return repository


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def test_messages_of_a_run_have_its_versions_networks(start, log, tmp_path):
    onlining.crash(start, log, tmp_path / "run", at=10)
    source = RunMessages(Deltas(log=log), tmp_path / "run")
    newest = source.newest()
    found = checkpoint.read(tmp_path / "run" / "versions" / newest.version)
    weights = safetensors.torch.load(source.weights(newest.version))
    assert weights.keys() == found.network().keys()
    assert all(torch.equal(value, weights[name]) for name, value in found.network().items())
    assert source.snapshot(newest.version).instant.sequence == newest.last
    with pytest.raises(StorageError, match="is gone"):
        source.weights("step-9999999999")


def test_a_bundle_follows_its_run_and_answers_as_the_newest_version_would(start, log, samples, tmp_path):
    records = probe(samples)
    onlining.crash(start, log, tmp_path / "run", at=10, save_every_s=1e9, dense_every_s=0.01)
    bundle = bundle_of(tmp_path / "run", records, tmp_path / "bundle")
    repository = served(tmp_path / "bundle", tmp_path / "run", log)
    (context, candidates), logged = request_of(bundle.signature, records)
    request = Request(id="r", context=context, candidates=candidates)
    told = Told(log, tmp_path / "run", logged)
    with Engine(repository.route) as engine:
        before = engine.rank(request)
        onlining.run(start, log, tmp_path / "run")
        edition = repository.model().edition()
        assert edition.catch_up(60)
        after = engine.rank(request)
    told.read()
    newest = max(told.inputs)
    assert (after.stamp.rows, after.stamp.dense) == (newest, newest)
    assert after.stamp.model == "problem"
    assert after.stamp.version == "bundle"
    assert before.stamp.rows < newest
    for answer in (before, after):
        expected = told.logits(answer.stamp.rows, answer.stamp.dense)
        assert np.abs(answer.predictions["is_click"] - sigmoid(expected[:, 0])).max() < 1e-5
    assert not np.array_equal(before.predictions["is_click"], after.predictions["is_click"])
    assert edition.trouble == ""


def test_while_it_follows_every_answer_is_of_the_states_that_its_stamp_names(start, log, samples, tmp_path):
    """Trains, serves and asks at the same time; then every answer is made again in eager torch."""
    records = probe(samples)
    onlining.crash(start, log, tmp_path / "run", at=2)
    bundle = bundle_of(tmp_path / "run", records, tmp_path / "bundle")
    repository = served(tmp_path / "bundle", tmp_path / "run", log)
    (context, candidates), logged = request_of(bundle.signature, records)
    told = Told(log, tmp_path / "run", logged)
    over, answers, problems = threading.Event(), [], []

    def ask(engine, number):
        count = 0
        while not over.is_set():
            count += 1
            try:
                request = Request(id=f"{number}-{count}", context=context, candidates=candidates)
                answers.append(engine.rank(request))
            except Exception as error:
                problems.append(error)
            time.sleep(0.002)

    with Engine(repository.route) as engine:
        asking = [threading.Thread(target=ask, args=(engine, number)) for number in range(2)]
        for each in asking:
            each.start()
        recorder = Recorder(then=lambda _: time.sleep(0.25))
        onlining.run(start, log, tmp_path / "run", watcher=recorder, save_every_s=1e9, dense_every_s=0.2)
        last = recorder.of(Published)[-1].sequence
        until = time.monotonic() + 60
        while not any(each.stamp.dense == last for each in answers[-20:]) and time.monotonic() < until:
            time.sleep(0.02)
        over.set()
        for each in asking:
            each.join()
        repository.close()
    assert not problems
    stamps = {(each.stamp.rows, each.stamp.dense) for each in answers}
    assert max(stamps) == (last, last)
    assert len({rows for rows, _ in stamps}) > 10
    assert len({dense for _, dense in stamps}) > 2
    assert all(dense <= rows for rows, dense in stamps)
    begun = bundle.manifest["training"]["sequence"]  # of step 0, which has learned of no event
    assert all(each.stamp.event_ms > 0 for each in answers if each.stamp.rows > begun)
    told.read()
    expected = {stamp: told.logits(*stamp) for stamp in stamps}
    for answer in answers:
        logits = expected[(answer.stamp.rows, answer.stamp.dense)]
        assert np.abs(answer.predictions["is_click"] - sigmoid(logits[:, 0])).max() < 1e-5


def test_on_a_full_disk_rows_go_on_and_the_network_waits_for_room(start, log, samples, tmp_path):
    records = probe(samples)
    onlining.crash(start, log, tmp_path / "run", at=10, save_every_s=1e9)
    bundle = bundle_of(tmp_path / "run", records, tmp_path / "bundle")
    repository = served(tmp_path / "bundle", tmp_path / "run", log)
    (context, candidates), logged = request_of(bundle.signature, records)
    request = Request(id="r", context=context, candidates=candidates)
    told = Told(log, tmp_path / "run", logged)
    edition = repository.model().edition()
    before = edition.target.scorer.stamp
    onlining.run(start, log, tmp_path / "run", save_every_s=1e9, dense_every_s=0.01)
    with Engine(repository.route) as engine:
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, most))  # no file can grow beyond that
        try:
            edition.catch_up(60)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        told.read()
        stuck = engine.rank(request)
        assert (stuck.stamp.rows, stuck.stamp.dense) == (max(told.inputs), before.dense)
        assert "cannot be made" in repository.models()[0].versions[0].reason
        edition.catch_up(60)
        after = engine.rank(request)
    assert (after.stamp.rows, after.stamp.dense) == (max(told.inputs), max(told.networks))
    assert repository.models()[0].versions[0].reason == ""
    for answer in (stuck, after):
        expected = told.logits(answer.stamp.rows, answer.stamp.dense)
        assert np.abs(answer.predictions["is_click"] - sigmoid(expected[:, 0])).max() < 1e-5
