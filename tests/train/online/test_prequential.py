import numpy as np
import problem
import pytest

from larix.batch import Batch
from larix.errors import StorageError
from larix.model.metrics import Metrics
from larix.train.online.prequential import Prequential
from larix.train.online.watcher import Tested as Scored

SAMPLE = problem.sample()
BOUNDS = {"bins": 1 << 10, "budget": 400}


def scored(rng):
    size = 50
    labels = np.stack([rng.integers(0, 2, size), rng.exponential(5, size)], axis=1).astype(np.float32)
    batch = Batch(
        size=size,
        ids={},
        sequences={},
        dense=np.zeros((size, 0), np.float32),
        labels=labels,
        group=rng.integers(0, 9, size),
        scene=rng.integers(0, 3, size),
    )
    scores = rng.standard_normal((2, size, 2)).astype(np.float32)
    return Scored(
        step=1,
        records=None,
        batch=batch,
        scores=scores[0],
        frozen=scores[1],
        weight=rng.random(size).astype(np.float32),
    )


def fresh():
    return Prequential(SAMPLE, 100, frozen=True, **BOUNDS)


def windows(seed, restart):
    """What comes out of thirty batches, saved and restored at random if ``restart``."""
    rng, chance = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    metrics, event_ms, found = fresh(), 0, []
    for _ in range(30):
        event_ms += int(rng.integers(0, 60))
        if metrics.over(event_ms):
            found.append((metrics.first_ms, *metrics.end()))
        metrics.add(scored(rng), event_ms)
        if restart and chance.random() < 0.4:
            files = metrics.save()
            metrics = fresh()
            metrics.restore(files)
    found.append((metrics.first_ms, *metrics.end()))
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_comes_out_is_the_same_to_the_bit_however_often_it_was_restored(seed):
    found = windows(seed, restart=True)
    assert found == windows(seed, restart=False)
    assert len(found) > 4
    first = [each[0] for each in found]
    assert first == sorted(set(first))
    assert all(each % 100 == 0 for each in first)
    totals = found[-1][2]
    assert totals["online"]["samples"] == totals["frozen"]["samples"] == 30 * 50
    assert totals["online"]["tasks"] != totals["frozen"]["tasks"]


def test_a_window_is_what_metrics_say_of_its_batches_and_the_total_of_all():
    rng = np.random.default_rng(4)
    batches = [scored(rng) for _ in range(4)]
    metrics, parts, whole = fresh(), [Metrics(SAMPLE.tasks) for _ in range(2)], Metrics(SAMPLE.tasks)
    found = []
    for number, one in enumerate(batches):
        if metrics.over(number // 2 * 100):
            found.append(metrics.end())
        metrics.add(one, number // 2 * 100)
        for each in (parts[number // 2], whole):
            each.update(one.scores, one.batch.labels, one.weight, one.batch.group, one.batch.scene)
    found.append(metrics.end())
    for (window, _), part in zip(found, parts, strict=True):
        expected = part.compute(0)["tasks"]["is_click"]
        for key in ("auc", "gauc", "logloss", "calibration", "count"):
            assert window["online"]["tasks"]["is_click"][key] == pytest.approx(expected[key])
        assert set(window["online"]["scenes"]) == {"0", "1", "2"}
    total = found[-1][1]["online"]["tasks"]["is_click"]
    assert total["auc"] == pytest.approx(whole.compute()["tasks"]["is_click"]["auc"])


def test_before_the_first_batch_there_is_no_window():
    metrics = fresh()
    assert metrics.first_ms is None
    assert not metrics.over(1 << 50)


def test_a_version_without_metrics_is_told():
    with pytest.raises(StorageError, match="has no prequential metrics"):
        fresh().restore({})
