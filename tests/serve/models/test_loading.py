import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import stock
from engine_fakes import eventually

from larix.compile.afresh import compile_apart
from larix.embedding import Instant, Levels, Snapshot
from larix.embedding.image import Images
from larix.errors import ConfigError, StorageError
from larix.feed import ValueModel, WeightedSum
from larix.feed.serial import write as write_value
from larix.serve import rows as stored
from larix.serve.bundle import TABLES, Bundle
from larix.serve.engine import Engine
from larix.serve.models import Loading, Repository
from larix.serve.models import loading as loading_module
from larix.serve.models.turn import Turn
from larix.serve.refusal import Refusal
from larix.serve.request import Request
from larix.serve.service import State


@pytest.fixture
def place(tmp_path):
    (tmp_path / "shop").mkdir()
    stock.made(tmp_path / "shop" / "step-1")
    return tmp_path / "shop"


def requests(repository):
    signature = repository.signature("shop")
    for number, (context, candidates) in enumerate(stock.warm().requests(signature)):
        yield Request(
            id=str(number),
            context=signature.context_of(context, 0)[0],
            candidates=signature.candidates_of(candidates)[0],
        )


def clicks(repository):
    with Engine(repository.route) as engine:
        return np.stack([engine.rank(each).predictions["click"] for each in requests(repository)])


def expected():
    return 1 / (1 + np.exp(-stock.warm().logits[:, :, 0]))


def test_a_bundle_answers_as_it_was_trained_under_the_names_it_is_asked_by(place):
    repository = Repository({"shop": place}, Loading(streams=2))
    repository.load("shop")
    np.testing.assert_allclose(clicks(repository), expected(), atol=1e-5)
    stamp = repository.route(next(requests(repository))).scorer.stamp
    assert (stamp.model, stamp.version, stamp.history, stamp.rows) == ("shop", "step-1", "line", 1)
    gauges = repository.model().gauges["step-1"]
    assert gauges["rows"] > 0
    assert gauges["row_lookups"] > 0


def test_a_bundle_that_comes_is_loaded_with_pauses_and_the_first_without(place, monkeypatch):
    paused = []
    monkeypatch.setattr(loading_module, "pauses", lambda: lambda: paused.append(threading.get_ident()))
    repository = Repository({"shop": place}, Loading())
    repository.load("shop")
    assert not paused  # nobody answers yet
    files = len(stock.made(place / "step-2").manifest["files"])
    repository.load("shop")
    assert repository.models()[0].live == "step-2"
    measured = 7 * 2 * len(repository.route(next(requests(repository))).scorer.buckets)
    assert (
        len(paused) > files + measured
    )  # one each, and those between blobs, pieces of rows and logged samples
    np.testing.assert_allclose(clicks(repository), expected(), atol=1e-5)


def test_every_damaged_file_leaves_the_version_before_and_is_named(place):
    repository = Repository({"shop": place}, Loading())
    repository.load("shop")
    bundle = stock.made(place / "step-2").folder
    files = [path for path in bundle.rglob("*") if path.is_file() and path.stat().st_size]
    for path in files[:: max(1, len(files) // 6)]:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(Refusal, match="cannot be loaded") as refused:
            repository.load("shop")
        assert str(path) in str(refused.value)
        status = repository.models()[0]
        assert status.live == "step-1"
        assert {each.version: each.state for each in status.versions}["step-2"] is State.UNAVAILABLE
        path.write_bytes(whole)
    np.testing.assert_allclose(clicks(repository), expected(), atol=1e-5)
    repository.load("shop")
    assert repository.models()[0].live == "step-2"


def test_rows_on_levels_answer_the_same_and_tell_how_often_they_were_hot(place, tmp_path):
    levels = Levels(hot_bytes=600, folder=tmp_path / "cold", cold="disk")
    repository = Repository({"shop": place}, Loading(levels={"shop": levels}))
    repository.load("shop")
    for _ in range(3):
        np.testing.assert_allclose(clicks(repository), expected(), atol=1e-5)
        repository.poll()
    gauges = repository.model().gauges["step-1"]
    assert 0 < gauges["row_hit_rate"] < 1
    assert gauges["row_disk_bytes"] > 0
    assert repository.models()[0].versions[0].reason == ""


def test_a_value_model_of_its_own_is_looked_at_again(place, tmp_path):
    path = tmp_path / "value.json"
    path.write_text(write_value(ValueModel(fusion=WeightedSum(weights={"click": 1.0}))))
    repository = Repository({"shop": place}, Loading(values={"shop": path}))
    repository.load("shop")
    request = next(requests(repository))
    with Engine(repository.route) as engine:
        before = engine.rank(request)
        path.write_text(write_value(ValueModel(fusion=WeightedSum(weights={"click": -1.0}))))
        repository.poll()
        after = engine.rank(request)
        np.testing.assert_allclose(after.value, -before.value)
        path.write_text("{")
        repository.poll()
        assert str(path) in repository.models()[0].versions[0].reason
        np.testing.assert_array_equal(engine.rank(request).value, after.value)


def test_what_follows_nothing_starts_no_threads(place):
    edition = Loading()(place / "step-1", model="shop", version="1")
    edition.start()
    edition.stop()
    assert edition.trouble == ""


def test_it_needs_no_training_code_and_none_of_the_networks(place):
    code = (
        "import sys; from pathlib import Path; from larix.serve.models import Loading\n"
        f"print(Loading()(Path({str(place / 'step-1')!r}), model='m', version='1').target.scorer.stamp.model)\n"
        "print([each for each in sys.modules if each.startswith(('larix.train', 'larix.data', 'larix.recipes', 'stock'))])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "HOME": os.environ.get("HOME", "")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split("\n")[:2] == ["m", "[]"]


@pytest.mark.parametrize("wrong", [{"dense_s": -1.0}, {"catch_up_s": float("nan")}])
def test_times_that_are_none_are_refused(wrong):
    with pytest.raises(ConfigError, match="number of seconds"):
        Loading(**wrong)


def test_a_folder_without_a_bundle_is_named(tmp_path):
    with pytest.raises(StorageError, match=str(tmp_path / "none")):
        Loading()(tmp_path / "none", model="m", version="1")


def test_a_manifest_of_something_else_is_no_bundle(place):
    path = Path(place / "step-1" / "manifest.json")
    path.write_text(json.dumps({"format": 1}))
    with pytest.raises(StorageError, match="manifest"):
        Loading()(place / "step-1", model="m", version="1")


def test_processes_that_take_turns_compile_a_network_once_and_keep_but_the_newest(
    place, tmp_path, monkeypatch
):
    bundle, made = stock.made(tmp_path / "step-1"), []
    monkeypatch.setattr(
        loading_module,
        "compile_apart",
        lambda captured, folder, **how: (made.append(folder), compile_apart(captured, folder, **how)),
    )
    scratch = tmp_path / "shared"
    scratch.mkdir()

    def process():
        make = loading_module._Scorer(bundle, 1)
        return loading_module._Remake(bundle, make, Loading(scratch=scratch, turn=Turn(scratch / "turn")))

    rows, stamps = bundle.replica(), bundle.stamp_at
    first, second = process(), process()
    for seed in range(6):
        weights = safetensors.torch.save(stock.Net(bundle.sample).state_dict())
        one, other = first(rows, weights, stamps), second(rows, weights, stamps)
        assert len(made) == seed + 1, "the second compiled again"
        arrays = next(iter(requests_of(bundle)))
        assert np.array_equal(*(each.score([each.request(*arrays)])[0] for each in (one, other)))
    assert len(list(scratch.glob("network-*"))) <= 5
    with Turn(scratch / "turn"):
        assert first(rows, weights, stamps) is None, "others have their turn"
    with pytest.raises(ConfigError, match="scratch"):
        Loading(turn=Turn(scratch / "turn"))


def test_processes_that_take_turns_hold_a_bundle_s_rows_once_as_long_as_one_has_it(
    place, tmp_path, caplog, monkeypatch
):
    scratch = tmp_path / "shared"
    scratch.mkdir()

    def process():
        turn = Turn(scratch / "turn")
        made = Repository({"shop": place}, Loading(scratch=scratch, turn=turn), keep=0, turn=turn)
        made.load("shop")
        return made

    def shared():
        return sorted(each.name for each in scratch.glob("rows-*"))

    first, second = process(), process()
    alone = Repository({"shop": place}, Loading())
    alone.load("shop")
    for each in (first, second):
        gauges = each.model().gauges[each.model().live]
        assert 0 < gauges["row_shared_bytes"] <= gauges["row_bytes"]
        np.testing.assert_array_equal(clicks(each), clicks(alone))
    assert alone.model().gauges["step-1"]["row_shared_bytes"] == 0
    assert len(shared()) == 2
    stock.made(place / "step-2")
    for each in (first, second):
        each.load("shop")
        eventually(lambda each=each: (each.poll(), each.model().versions == ("step-2",))[1])
    eventually(lambda: (first.poll(), second.poll(), len(shared()) == 2)[-1])
    assert caplog.text == ""
    for link in scratch.glob("rows-*"):
        link.unlink()

    def freeze(self, stamp, between):
        raise StorageError("memory to share: cannot write: Cannot allocate memory")

    monkeypatch.setattr(loading_module.Replica, "freeze", freeze)
    third = process()
    assert "Cannot allocate memory" in caplog.text
    np.testing.assert_array_equal(clicks(third), clicks(first))
    assert third.model().gauges["step-2"]["row_shared_bytes"] == 0


def test_snapshots_of_one_state_are_held_once_and_rows_on_levels_by_each(place, tmp_path):
    bundle = Bundle.open(place / "step-1")
    specs, images = list(bundle.replica().specs.values()), Images(tmp_path)

    def snapshot(sequence=9):
        pieces, _ = stored.read(bundle.folder / TABLES)
        instant = Instant(history="h", sequence=sequence, steps=0, clock=0)
        return Snapshot(pieces.specs, 0, instant, iter(pieces))

    def filled(*, precision="fp32", levels=None, sequence=9, images=images):
        return loading_module._Filled(specs, precision, levels, images)(snapshot(sequence))

    first, second = filled(), filled()
    others = [filled(sequence=10), filled(precision="bf16")]
    assert os.fstat(first.image).st_ino == os.fstat(second.image).st_ino
    assert os.fstat(first.image).st_ino not in {os.fstat(each.image).st_ino for each in others}
    assert (second.instant.sequence, others[0].instant.sequence) == (9, 10)
    alone = filled(images=None)
    leveled = filled(levels=Levels(hot_bytes=600, folder=tmp_path / "cold", cold="disk"))
    for spec in specs:
        ids = alone.keys(spec.name)
        for each in (first, second, others[0], leveled):
            np.testing.assert_array_equal(each.lookup(spec.name, ids), alone.lookup(spec.name, ids))
    assert [each.stats().shared for each in (alone, leveled)] == [0, 0]


def requests_of(bundle):
    for context, candidates in stock.warm().requests(bundle.signature):
        yield bundle.signature.context_of(context, 0)[0], bundle.signature.candidates_of(candidates)[0]
