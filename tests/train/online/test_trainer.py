import numpy as np
import onlining
import problem
import pyarrow as pa
import pytest
import torch
from online_states import follower_of, same_rows
from onlining import Recorder

from larix.train import read_batch
from larix.train.online import Alarm, Drift, Progress, Published, Window
from larix.train.online import Tested as Scored


class Fragile(torch.nn.Module):
    """A ranker that a very old person makes divide by zero."""

    def __init__(self, sample):
        super().__init__()
        self.ranker = problem.ranker(sample)

    def forward(self, inputs):
        old = (inputs.dense > 50).any()
        return self.ranker(inputs) / (0.0 if old else 1.0)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory):
    """A run of such a ranker."""
    from functools import partial

    from larix import train

    folder = tmp_path_factory.mktemp("fragile")
    source = problem.write(folder / "data", rows=1000, unknown=0.0)
    torch.manual_seed(0)
    declared = problem.sample()
    run = train.fit(
        declared,
        Fragile(declared),
        source,
        dense=partial(torch.optim.AdamW, lr=1e-2),
        settings=train.Settings(batch_size=64, steps=5),
        folder=folder / "start",
    )
    return run.folder


def with_value(samples, column, row, value):
    values = samples[column].to_numpy(zero_copy_only=False).copy()
    values[row] = value
    at = samples.schema.get_field_index(column)
    return samples.set_column(at, column, pa.array(values))


def test_a_batch_of_bad_numbers_is_kept_and_skipped_and_holds_publishing(fragile, samples, tmp_path):
    bad = with_value(samples, "age", 64 * 10 + 7, 1e6)
    recorder = Recorder()
    with onlining.log_of(tmp_path / "log", bad) as log:
        outcome = onlining.run(
            fragile,
            log,
            tmp_path / "run",
            ranker=Fragile,
            watcher=recorder,
            publish_every_s=0.0,
            drift=Drift(healthy=5, calibration=None, loss_jump=None),
        )
        assert outcome.skipped == 1
        assert outcome.step == 50
        skipped, held, released = recorder.of(Alarm)
        at = skipped.step
        assert [each.what for each in (skipped, held, released)] == ["skipped", "held", "released"]
        assert f"batch {at} has scores that are not finite" in skipped.text
        kept = read_batch(tmp_path / "run" / f"failed-step-{at}.safetensors")
        assert kept.dense.max() > 50
        states = [(each.step, each.held) for each in recorder.of(Progress)]
        assert [step for step, why in states if why] == list(range(at, at + 5))
        told = [each.step for each in recorder.of(Published) if each.kind in ("rows", "dense")]
        assert not set(told) & set(range(at, at + 5))
        assert set(told) & set(range(at + 5, 51))
        follower = follower_of(log, tmp_path / "run")
        while follower.poll():
            pass
        assert same_rows(follower.replica, tmp_path / "run")
    assert np.isfinite(recorder.of(Window)[-1].total["tasks"]["is_click"]["logloss"])


def test_what_was_skipped_leaves_no_trace_in_the_model(fragile, samples, tmp_path):
    runs = {"log": with_value(samples, "age", 5, 1e6), "without": samples.slice(64)}
    tested = []
    for name, given in runs.items():
        recorder = Recorder()
        with onlining.log_of(tmp_path / name, given) as log:
            onlining.run(fragile, log, tmp_path / f"run {name}", ranker=Fragile, watcher=recorder, span_s=1e6)
        tested.append(recorder.of(Scored))
    assert len(tested[0]) == len(tested[1]) == 46
    for one, other in zip(*tested, strict=True):
        assert one.step == other.step + 1
        assert np.array_equal(one.scores, other.scores)


def test_rows_that_cannot_be_read_are_left_out_one_by_one(start, samples, tmp_path):
    rows = (70, 77, 700)
    bad = samples
    for row in rows:
        bad = with_value(bad, "play_ms", row, -5)
    recorder = Recorder()
    with onlining.log_of(tmp_path / "log", bad) as log:
        outcome = onlining.run(start, log, tmp_path / "run", watcher=recorder)
    assert (outcome.samples, outcome.skipped) == (3000 - len(rows), 0)
    alarms = recorder.of(Alarm)
    assert {each.what for each in alarms} == {"skipped"}
    assert "a time must be finite, not negative" in alarms[0].text
    kept = [
        one
        for path in (tmp_path / "run").glob("failed-step-*.arrow")
        for one in pa.ipc.open_file(path).read_all()["play_ms"].to_pylist()
    ]
    assert kept == [-5] * 3


def test_samples_of_other_types_cost_nobody_else_and_stop_nothing(start, samples, tmp_path):
    """Ids as text are ids; half an id and text for a number cannot be read; a column that is there twice counts once."""

    def odd(name, values):
        return samples.slice(0, 3).set_column(samples.schema.get_field_index(name), name, values)

    twice = samples.slice(0, 3).append_column("age", pa.array(["x", "y", "z"]))
    first, *others = samples.to_batches(max_chunksize=100)
    recorder, last = Recorder(), others.pop()
    with onlining.log_of(tmp_path / "log", samples.slice(0, 0)) as log:
        for rows in (
            odd("user_id", pa.array(["a", "b", "c"])),
            first,
            odd("user_id", pa.array([7.5, 8.0, 9.0])),
        ):
            log.append("samples", rows if isinstance(rows, pa.RecordBatch) else rows.to_batches()[0])
        for number, rows in enumerate(others):
            log.append("samples", rows)
            if number == 9:
                log.append(
                    "samples", odd("age", pa.array(["old", None, "young"])).combine_chunks().to_batches()[0]
                )
                log.append("samples", twice.combine_chunks().to_batches()[0])
        log.append("samples", last)
        outcome = onlining.run(start, log, tmp_path / "run", watcher=recorder, span_s=1e6)
    kept = [
        one
        for path in (tmp_path / "run").glob("failed-step-*.arrow")
        for one in pa.ipc.open_file(path).read_all().to_pylist()
    ]
    assert sorted(str(each["user_id"]) for each in kept if isinstance(each["user_id"], float)) == [
        "7.5",
        "8.0",
        "9.0",
    ]
    assert sorted(each["age"] for each in kept if isinstance(each["age"], str)) == ["old", "young"]
    assert len(kept) == 6
    assert outcome.samples == 3000 + 3 + 3 + 3 + 3 - 6
    assert {each.what for each in recorder.of(Alarm)} == {"skipped"}


def test_a_batch_of_which_nothing_can_be_read_is_skipped(start, samples, tmp_path):
    bad = samples
    for row in range(64, 128):
        bad = with_value(bad, "play_ms", row, -5)
    with onlining.log_of(tmp_path / "log", bad) as log:
        outcome = onlining.run(start, log, tmp_path / "run", span_s=1e6)
    assert (outcome.samples, outcome.skipped, outcome.step) == (3000 - 64, 1, 47)


def test_only_so_many_are_kept(start, samples, tmp_path):
    bad = samples
    for row in range(0, 3000, 100):
        bad = with_value(bad, "play_ms", row, -5)
    recorder = Recorder()
    with onlining.log_of(tmp_path / "log", bad) as log:
        onlining.run(start, log, tmp_path / "run", failed=3, watcher=recorder)
    assert len(list((tmp_path / "run").glob("failed-step-*"))) == 3
    assert "there are 3 such files already" in recorder.of(Alarm)[-1].text
