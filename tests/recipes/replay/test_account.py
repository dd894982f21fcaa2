import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from larix.data.log import DiskLog
from larix.recipes.replay.account import Account

MINUTE = 60_000


@dataclass
class Task:
    name: str
    kind: str = "binary"


@pytest.fixture
def log(tmp_path):
    with DiskLog(tmp_path / "log") as log:
        yield log


def account(log):
    return Account(
        log,
        [Task("click")],
        lateness_ms=MINUTE,
        measured=lambda rows: rows["time_ms"].to_numpy() >= 10 * MINUTE,
        window_ms=5 * MINUTE,
        new=lambda items: items.to_numpy() == 3,
    )


def minute_of(step, count=20):
    """A minute of samples that became ready two minutes later, and what both models said."""
    rng = np.random.default_rng(step)
    label = rng.integers(0, 2, count).astype(np.float32)
    time = step * MINUTE + np.arange(count)
    return pa.record_batch(
        {
            "step": np.full(count, step),
            "key": [f"{step}-{at}" for at in range(count)],
            "time_ms": time,
            "ready_ms": time + 2 * MINUTE,
            "item": rng.integers(0, 5, count),
            "group": rng.integers(0, 3, count),
            "weight": np.ones(count, np.float32),
            "label.click": label,
            "online.click": (label + rng.normal(size=count)).astype(np.float32),
            "frozen.click": rng.normal(size=count).astype(np.float32),
        }
    )


def answers(rows, learned, at, asked=True):
    """Answers as sharp as can be, so that they are told from those of tests."""
    size = len(rows)
    return pa.record_batch(
        {
            "key": rows["key"] if asked else pa.nulls(size, pa.string()),
            "time_ms": rows["time_ms"],
            "learned_ms": np.full(size, learned),
            "sequence": np.full(size, 1),
            "at_ms": np.full(size, at),
            "click": pa.array(rows["label.click"].to_numpy() * 8 - 4),
        }
    )


def said(what, /, **told):
    return pa.RecordBatch.from_pylist([{"what": what, "time_ms": 1, "said": json.dumps(told)}])


def write(log, steps=20):
    """A replay of a minute a second: sent at once, tested two seconds later, answered a second after that."""
    for step in range(steps):
        rows = minute_of(step)
        sent = {"until_ms": (step + 1) * MINUTE, "at_ms": 1000 * step, "rows": 2 * len(rows)}
        log.send("sent", pa.RecordBatch.from_pylist([sent]))
        log.send("answers", answers(rows, learned=step * MINUTE, at=1000 * step + 500))
        log.send("tested", rows)
        log.send("progress", said("progress", lag=step, step=step, held="", samples=1))
        log.send("progress", said("published", kind="rows", rows=7))
    log.send("progress", said("alarm", step=3, what="skipped", text="batch 3: bad"))
    log.send("progress", said("saved", step=3, seconds=0.1))
    log.send("progress", said("joined", samples=400))
    log.flush()


def test_whoever_reads_the_log_comes_to_the_same_figures_at_once_or_as_it_comes(log):
    early = account(log)
    for _ in range(3):
        early.read()
    write(log)
    while early.read():
        early.show()
    late = account(log)
    first, second = early.finish(), late.finish()
    for name in (
        "total",
        "new_items",
        "windows",
        "served",
        "freshness",
        "events",
        "samples",
        "answers",
        "alarms",
        "join",
    ):
        assert json.dumps(first[name]) == json.dumps(second[name]), name


def test_figures_are_of_the_samples_that_count(log):
    ours = account(log)
    write(log)
    found = ours.finish()
    assert (found["samples"], found["events"], found["answers"]) == (400, 800, 400)
    assert found["total"]["samples"] == found["served"]["samples"] == 200
    assert 0 < found["new_items"]["samples"] < 200
    assert [window["last_ms"] for window in found["windows"]] == [5 * MINUTE * at for at in range(1, 5)]
    assert found["served"]["tasks"]["click"]["auc"] == 1.0
    assert found["total"]["frozen"]["click"]["auc"] < found["total"]["online"]["click"]["auc"] < 1.0
    assert (found["published"], found["published_rows"], found["alarms"], found["join"]) == (
        20,
        140,
        {"skipped": 1},
        {"samples": 400},
    )


def test_freshness_is_found_from_what_was_sent_tested_and_answered(log):
    ours = account(log)
    write(log)
    fresh = ours.finish()["freshness"]
    # A sample of minute m is ready at m + 2 (and some ms): the slice to m + 4 lets the watermark pass, sent in second m + 3; the
    # model that learned to m + 3 answered half a second after second m + 3.
    assert fresh["p50_s"] == fresh["p99_s"] == pytest.approx(0.5)
    assert fresh["samples"] == 17 * 20


def test_what_is_shown_is_how_it_stands(log):
    ours = account(log)
    assert ours.lag is None
    assert ours.show().scores == {}
    write(log, steps=4)
    ours.read()
    standing = ours.show()
    assert (standing.samples, standing.events, standing.answers, standing.step) == (80, 160, 80, 3)
    assert (standing.published, standing.published_rows, standing.saved) == (4, 28, 1)
    assert ours.lag == standing.lag == 3
    assert standing.alarms == ["skipped: batch 3: bad"]
    assert standing.scores["samples"] == 80
    assert standing.event_ms == 3 * MINUTE + 19
    assert standing.freshness["samples"] > 0


def test_an_answer_given_twice_counts_as_it_was_given_first_and_one_to_nobody_not_at_all(log):
    ours = account(log)
    rows = minute_of(15)
    log.send("tested", rows)
    log.send("answers", answers(rows, learned=0, at=1))
    wrong = answers(rows, learned=1, at=2).set_column(5, "click", pa.array(np.zeros(len(rows), np.float32)))
    log.send("answers", wrong)
    log.send("answers", answers(rows, learned=2, at=3, asked=False))
    found = ours.finish()
    assert found["served"]["tasks"]["click"]["auc"] == 1.0
    assert found["answers"] == 2 * len(rows)
