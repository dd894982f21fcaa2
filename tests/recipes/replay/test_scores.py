from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from larix.batch import Batch
from larix.errors import DataError
from larix.model.metrics import Metrics
from larix.recipes.replay.scores import Scores, record
from larix.train import online

HOUR = 3_600_000


@dataclass
class Task:
    name: str
    kind: str = "binary"


TASKS = [Task("click"), Task("seconds", "regression")]


def batch_of(step, size=64, start=0, frozen=True):
    """A batch of an hour's samples; the online model sees the truth better than the frozen one."""
    rng = np.random.default_rng(step)
    truth = rng.normal(size=size)
    seconds = rng.gamma(1.0, 10.0, size)
    labels = np.column_stack([rng.random(size) < 1 / (1 + np.exp(-truth)), seconds]).astype(np.float32)
    known = np.column_stack([truth, np.log1p(seconds)])
    time = start + step * HOUR + np.sort(rng.integers(0, HOUR, size))
    group = rng.integers(0, 8, size)
    batch = Batch(
        size=size, ids={}, sequences={}, dense=np.zeros((size, 0), np.float32), labels=labels, group=group
    )
    records = pa.record_batch(
        {"user": group, "item": rng.integers(0, 30, size), "time": time, "ready_ms": time + 5}
    )
    return online.Tested(
        step=step,
        records=records,
        batch=batch,
        scores=(known + 0.3 * rng.normal(size=known.shape)).astype(np.float32),
        frozen=(known + 2.0 * rng.normal(size=known.shape)).astype(np.float32) if frozen else None,
        weight=np.ones(size, np.float32),
    )


def rows_of(each):
    return record(each, [task.name for task in TASKS], identity=("user", "time"), time="time", item="item")


def scores(measured=0, window=4 * HOUR, new=lambda items: np.zeros(len(items), bool)):
    return Scores(
        TASKS, measured=lambda rows: rows["time_ms"].to_numpy() >= measured, window_ms=window, new=new
    )


def wanted(batches, which="scores", keep=None):
    metrics = Metrics(TASKS)
    for each in batches:
        mask = np.ones(each.batch.size, bool) if keep is None else keep(each)
        metrics.update(getattr(each, which)[mask], each.batch.labels[mask], None, each.batch.group[mask])
    return metrics.compute()["tasks"]


def same(found, expected):
    for task, figures in expected.items():
        for name in ("auc", "gauc", "logloss", "calibration", "xauc", "mae", "count"):
            if name in figures:
                assert found[task][name] == pytest.approx(figures[name], abs=2e-3), (task, name)


def test_both_models_are_measured_on_the_days_that_count_in_windows_and_on_new_items():
    batches = [batch_of(step) for step in range(12)]
    ours = scores(measured=6 * HOUR, new=lambda items: items.to_numpy() >= 20)
    for each in batches:
        ours.add(rows_of(each))
    found = ours.finish()
    same(found["total"]["online"], wanted(batches[6:]))
    same(found["total"]["frozen"], wanted(batches[6:], "frozen"))
    same(found["all"]["online"], wanted(batches))
    same(
        found["new_items"]["online"],
        wanted(batches[6:], keep=lambda each: each.records["item"].to_numpy() >= 20),
    )
    assert 0 < found["new_items"]["samples"] < found["total"]["samples"] == 6 * 64
    assert [window["last_ms"] for window in found["windows"]] == [4 * HOUR, 8 * HOUR, 12 * HOUR]
    same(found["windows"][1]["frozen"], wanted(batches[4:8], "frozen"))
    assert found["total"]["online"]["click"]["auc"] > found["total"]["frozen"]["click"]["auc"] + 0.05
    assert found["total"]["online"]["click"]["curve"]


def test_what_comes_again_after_a_crash_counts_once_however_it_is_cut():
    batches = [batch_of(step) for step in range(6)]
    rows = [rows_of(each) for each in batches]
    plain, twice = scores(), scores()
    for each in rows:
        plain.add(each)
    again = (
        pa.Table.from_batches([rows[0], rows[1], rows[2], rows[1], rows[2], rows[3]])
        .combine_chunks()
        .to_batches()[0]
    )
    twice.add(again)
    for each in (rows[3], rows[4], rows[5]):
        twice.add(each)
    assert twice.finish() == plain.finish()
    assert (twice.samples, twice.step) == (6 * 64, 5)


def test_so_far_is_told_at_any_time_and_changes_nothing():
    ours = scores()
    ours.add(rows_of(batch_of(0)))
    first = ours.so_far()
    assert first["samples"] == 64
    assert ours.so_far() == first
    ours.add(rows_of(batch_of(1)))
    assert ours.so_far()["samples"] == 128


def test_without_a_frozen_model_both_are_the_same_and_tests_of_other_tasks_are_refused():
    row = rows_of(batch_of(0, frozen=False))
    ours = scores()
    ours.add(row)
    assert ours.finish()["all"]["online"] == ours.finish()["all"]["frozen"]
    with pytest.raises(DataError, match="other tasks"):
        Scores(
            [Task("like")],
            measured=lambda rows: np.ones(len(rows), bool),
            window_ms=HOUR,
            new=lambda items: np.zeros(len(items), bool),
        ).add(row)


def test_a_row_holds_the_samples_key_as_its_events_do():
    each = batch_of(3)
    first = rows_of(each).to_pylist()[0]
    user, time = each.records["user"][0].as_py(), each.records["time"][0].as_py()
    assert (first["key"], first["time_ms"], first["ready_ms"], first["group"]) == (
        f"{user}-{time}",
        time,
        time + 5,
        user,
    )
