import threading
import time

import numpy as np
import onlining
import problem
import pytest
from onlining import Recorder

from larix.errors import ConfigError
from larix.model.embed import Embed
from larix.train import Run
from larix.train.online import Deltas, Published, Replica


def probe(samples):
    return samples.slice(2000, 200).combine_chunks().to_batches()[0]


def scored_by(folder, records):
    run = Run.load(folder, problem.ranker)
    run.ranker.eval()
    batch = run.sample.transform(records, labels=False)
    return run.ranker(Embed(run.sample, run.tables)(batch, train=False)).detach().numpy()


def test_it_answers_as_the_newest_version_would(start, log, samples, tmp_path):
    records = probe(samples)
    onlining.crash(start, log, tmp_path / "run", at=10, save_every_s=1e9)
    with Replica(tmp_path / "run", problem.ranker, Deltas(log=log)) as replica:
        while replica.poll():
            pass
        assert replica.follower.applied > 0
        onlining.run(start, log, tmp_path / "run")
        while replica.poll():
            pass
        assert np.array_equal(replica.scores(records), scored_by(tmp_path / "run", records))
        assert replica.follower.replaced == 1
        assert replica.event_ms > 0
        assert time.time() * 1000 - 600_000 < replica.published_ms <= time.time() * 1000
        predicted = replica.predict(records.drop_columns(["is_click", "play_ms"]))
        assert predicted.schema.names == ["is_click", "play_ms"]
        logits = replica.scores(records)[:, 0]
        assert np.allclose(predicted["is_click"], 1 / (1 + np.exp(-logits)))


def test_it_answers_while_it_follows(start, log, samples, tmp_path):
    records = probe(samples)
    onlining.crash(start, log, tmp_path / "run", at=1)
    with Replica(tmp_path / "run", problem.ranker, Deltas(log=log)) as replica:
        replica.start(every=0.001)
        over, answers = threading.Event(), []

        def ask():
            while not over.is_set():
                answers.append(replica.scores(records))

        asking = [threading.Thread(target=ask) for _ in range(2)]
        for each in asking:
            each.start()
        recorder = Recorder()
        onlining.run(start, log, tmp_path / "run", watcher=recorder)
        last = recorder.of(Published)[-1].sequence
        until = time.monotonic() + 30
        while replica.sequence < last and time.monotonic() < until:
            time.sleep(0.005)
        over.set()
        for each in asking:
            each.join()
        replica.stop()
        while replica.poll():
            pass
        assert all(np.isfinite(each).all() for each in answers)
        assert len({each.tobytes() for each in answers}) > 2
        assert np.array_equal(replica.scores(records), scored_by(tmp_path / "run", records))


def test_in_fewer_bits_it_answers_nearly_the_same(start, log, samples, tmp_path):
    records = probe(samples)
    onlining.run(start, log, tmp_path / "run")
    with Replica(tmp_path / "run", problem.ranker, Deltas(log=log), precision="int8") as replica:
        replica.poll()
        found = replica.scores(records)
    expected = scored_by(tmp_path / "run", records)
    assert not np.array_equal(found, expected)
    assert np.abs(found - expected).max() < 0.05


def test_before_the_first_version_it_says_so(log, tmp_path):
    with pytest.raises(ConfigError, match="has no version yet"):
        Replica(tmp_path / "run", problem.ranker, Deltas(log=log))
