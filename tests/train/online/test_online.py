import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import online_kills
import onlining
import problem
import pyarrow as pa
import pytest
from online_states import follower_of, newest, same_rows, state_of, weights_of, windows_of
from onlining import Recorder

from larix.data.log import DiskLog, LeaseError, Retention
from larix.embedding import LeastRecent, Tables
from larix.errors import ConfigError, StorageError
from larix.train import Run, checkpoint
from larix.train.online import Deltas, JoinedSamples, LoggedSamples, Progress, Published, Window
from larix.train.online import Tested as Scored

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def kill(start, folder, kills, rows, seed):
    """A run that is killed so often, and one that never is, on the same events, which each joins for itself."""
    onlining.events_of(folder / "log", onlining.feed(folder / "feed", rows=rows)).close()
    command = [sys.executable, online_kills.__file__, start, folder / "log", folder / "killed", kills, seed]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"killed {kills} " in done.stdout
    command = [
        sys.executable,
        onlining.__file__,
        start,
        folder / "log",
        folder / "whole",
        '{"topic": "other"}',
    ]
    subprocess.run([str(word) for word in command], env=ENVIRONMENT, check=True)
    assert state_of(folder / "killed") == state_of(folder / "whole")
    assert windows_of(folder / "killed") == windows_of(folder / "whole")
    assert checkpoint.load(folder / "whole" / "versions").point.samples == rows


def test_ten_kills_leave_no_trace_in_the_run_nor_in_its_followers(start, tmp_path):
    kill(start, tmp_path, 10, 20_000, 1)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_hundred_kills_leave_no_trace(start, tmp_path):
    kill(start, tmp_path, 100, 150_000, 2)


@pytest.mark.parametrize("max_rows", [30, 10_000])
def test_how_samples_come_changes_nothing(start, whole, log, tmp_path, max_rows):
    samples = LoggedSamples(log, "samples", max_rows=max_rows)
    onlining.run(start, log, tmp_path / "run", samples=samples, publish_every_s=1e9, save_every_s=1e9)
    assert state_of(tmp_path / "run") == state_of(whole)
    assert windows_of(tmp_path / "run") == windows_of(whole)


def test_samples_that_come_while_it_trains_are_trained_on_the_same(start, whole, samples, tmp_path):
    log = onlining.log_of(tmp_path / "log", samples.slice(0, 0))
    over = threading.Event()

    def produce():
        for batch in samples.to_batches(max_chunksize=70):
            log.append("samples", batch)
            time.sleep(0.002)
        over.set()

    producer = threading.Thread(target=produce)
    producer.start()
    outcome = onlining.run(start, log, tmp_path / "run", until=over.is_set)
    producer.join()
    assert not outcome.stopped
    assert state_of(tmp_path / "run") == state_of(whole)


def test_samples_joined_in_the_trainer_are_trained_on_as_those_that_were_ready(start, samples, tmp_path):
    with onlining.events_of(tmp_path / "events", samples) as events:
        joined = JoinedSamples(events, onlining.spec())
        table = pa.concat_tables(all_of(joined))
        joined.close()
        with onlining.log_of(tmp_path / "log", table) as log:
            onlining.run(start, log, tmp_path / "ready")
        onlining.run(start, events, tmp_path / "joined")
    expected, found = (state_of(tmp_path / name) for name in ("ready", "joined"))
    assert found[1] == 3000
    assert found[3] == expected[3]
    assert found[-1] == expected[-1]


def all_of(samples):
    parts = []
    while len(part := samples.finish()):
        parts.append(part)
    return parts


@pytest.mark.parametrize("steps", [(1,), (9, 10, 31)])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(start, whole, log, tmp_path, steps):
    for step in steps:
        stop = threading.Event()

        def then(progress, step=step, stop=stop):
            if progress.step >= step:
                stop.set()

        outcome = onlining.run(start, log, tmp_path / "run", stop=stop, watcher=Recorder(then=then))
        assert outcome.stopped
        assert outcome.step == step == checkpoint.load(tmp_path / "run" / "versions").point.step
    outcome = onlining.run(start, log, tmp_path / "run")
    assert not outcome.stopped
    assert state_of(tmp_path / "run") == state_of(whole)
    assert windows_of(tmp_path / "run") == windows_of(whole)


def test_ctrl_c_ends_it_after_a_batch_with_all_saved(start, whole, log, tmp_path):
    def then(progress):
        if progress.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    outcome = onlining.run(start, log, tmp_path / "run", watcher=Recorder(then=then))
    assert outcome.stopped
    assert outcome.step == 5
    onlining.run(start, log, tmp_path / "run")
    assert state_of(tmp_path / "run") == state_of(whole)


class Breaking(Recorder):
    """Cannot write down what it is told of a batch, or of a window."""

    def __init__(self, what, step):
        super().__init__()
        self.what, self.step = what, step

    def tested(self, tested):
        self.told.append(tested)
        if self.what == "tested" and tested.step == self.step:
            raise StorageError("no space")

    def measured(self, window):
        if self.what == "measured" and window.step >= self.step:
            raise StorageError("no space")


@pytest.mark.parametrize("what", ["tested", "measured"])
def test_what_fails_in_the_middle_of_a_batch_costs_none_of_its_samples(start, whole, log, tmp_path, what):
    with pytest.raises(StorageError, match="no space"):
        onlining.run(start, log, tmp_path / "run", watcher=Breaking(what, 12), save_every_s=1e9)
    onlining.run(start, log, tmp_path / "run")
    assert state_of(tmp_path / "run") == state_of(whole)
    assert windows_of(tmp_path / "run") == windows_of(whole)


def test_a_run_that_is_over_and_run_again_does_nothing(start, whole, log, tmp_path):
    for _ in range(2):
        outcome = onlining.run(start, log, tmp_path / "run")
        assert outcome.samples == 3000
    assert state_of(tmp_path / "run") == state_of(whole)


def test_clock_jumps_change_neither_the_run_nor_what_followers_see(start, whole, log, tmp_path, monkeypatch):
    """The wall clock, as the log, the deltas and their versions read it, runs backwards and leaps by years."""
    real, turns = time.time_ns, iter(range(1 << 30))
    jumps = (0, -1, 24 * 365, -24 * 365, 1)

    def jumping():
        return real() + jumps[next(turns) % len(jumps)] * 3_600_000_000_000

    monkeypatch.setattr(time, "time_ns", jumping)
    published = onlining.run(start, log, tmp_path / "run", publish_every_s=0.0, save_every_s=0.0)
    assert published.samples == 3000
    follower = follower_of(log, tmp_path / "run")
    while follower.poll():
        pass
    assert follower.waiting == follower.trouble == ""
    assert same_rows(follower.replica, tmp_path / "run")
    assert state_of(tmp_path / "run")[3] == state_of(whole)[3]
    assert weights_of(newest(tmp_path / "run")) == weights_of(newest(whole))
    assert windows_of(tmp_path / "run") == windows_of(whole)


def test_followers_of_a_lost_future_meet_the_run_that_went_on(start, whole, log, tmp_path):
    seldom = {"save_every_s": 1e9}
    onlining.crash(start, log, tmp_path / "run", at=30, **seldom)
    follower = follower_of(log, tmp_path / "run")
    while follower.poll():
        pass
    lost = follower.stand.sequence
    assert checkpoint.load(tmp_path / "run" / "versions").point.step == 0
    onlining.crash(start, log, tmp_path / "run", at=20, **seldom)  # and again, not as far
    while follower.poll():
        pass
    assert follower.stand.sequence == lost
    onlining.run(start, log, tmp_path / "run", **seldom)
    while follower.poll():
        pass
    assert follower.replaced == 1
    assert follower.passed > 0
    assert same_rows(follower.replica, tmp_path / "run")
    assert state_of(tmp_path / "run") == state_of(whole)


def test_followers_of_a_lost_future_that_comes_out_otherwise_load_a_snapshot(start, log, tmp_path):
    seldom = {"save_every_s": 1e9}
    onlining.crash(start, log, tmp_path / "run", at=30, **seldom)
    follower = follower_of(log, tmp_path / "run")
    while follower.poll():
        pass
    onlining.run(start, log, tmp_path / "run", rows_scale=0.5, **seldom)
    while follower.poll():
        pass
    assert follower.replaced == 2
    assert same_rows(follower.replica, tmp_path / "run")


def test_where_rows_are_evicted_a_resumed_run_fences_off_its_lost_future(tmp_path, log):
    run = onlining.begin(tmp_path, eviction=LeastRecent())
    onlining.crash(run.folder, log, tmp_path / "run", at=20, save_every_s=1e9)
    follower = follower_of(log, tmp_path / "run")
    while follower.poll():
        pass
    assert follower.stand.sequence > 15
    recorder = Recorder()
    onlining.run(run.folder, log, tmp_path / "run", watcher=recorder)
    assert recorder.of(Published)[0].kind == "fence"
    _drained(follower)
    assert follower.replaced > 1
    assert same_rows(follower.replica, tmp_path / "run")


def test_a_second_trainer_of_one_folder_is_refused(start, log, tmp_path):
    refused = []

    def then(progress):
        if progress.step == 3:
            with pytest.raises(LeaseError, match="only one process at a time may have it") as error:
                onlining.run(start, log, tmp_path / "run")
            refused.append(error)

    onlining.run(start, log, tmp_path / "run", watcher=Recorder(then=then))
    assert refused


def test_a_burst_makes_the_lag_grow_and_nothing_else(start, tmp_path):
    burst = onlining.feed(tmp_path / "feed", rows=20_000)
    calm = onlining.log_of(tmp_path / "log", burst.slice(0, 400), each=20)
    waiting = burst.slice(400).to_batches(max_chunksize=500)  # 50 times as much as came before, all at once

    def then(progress):
        if progress.step == 2:
            for batch in waiting:
                calm.append("samples", batch)

    recorder = Recorder(then=then)
    outcome = onlining.run(start, calm, tmp_path / "run", watcher=recorder)
    told = recorder.of(Progress)
    assert outcome.samples == 20_000
    assert max(each.lag for each in told) > 15_000
    assert max(each.pending for each in told) <= 256 + 500  # a poll, and what an append goes beyond it
    assert told[-1].lag == told[-1].pending == 0


def test_every_batch_is_tested_as_serving_would_before_it_is_trained_on(start, log, tmp_path):
    frozen = Run.load(start, problem.ranker)
    recorder = Recorder()
    onlining.run(start, log, tmp_path / "run", watcher=recorder, against=frozen)
    tested = recorder.of(Scored)
    assert sum(each.batch.size for each in tested) == 3000
    first = tested[0]
    assert np.array_equal(first.scores, first.frozen), "nothing was learned yet"
    assert not np.array_equal(tested[-1].scores, tested[-1].frozen)
    total = recorder.of(Window)[-1]
    assert total.total["samples"] == total.frozen_total["samples"] == 3000
    learned, stayed = (each["tasks"]["is_click"]["auc"] for each in (total.total, total.frozen_total))
    assert learned > stayed, "this feed is another than the run was begun with"


def test_a_damaged_segment_of_samples_ends_the_run_with_its_name_and_all_saved(start, log, tmp_path):
    segment = next((tmp_path / "log" / "topics" / "samples").rglob("*.segment"))
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 2] ^= 1
    segment.write_bytes(raw)
    with pytest.raises(StorageError, match=f"'{segment}' is damaged"):
        onlining.run(start, log, tmp_path / "run")
    before = checkpoint.load(tmp_path / "run" / "versions").point
    assert before.step > 10
    samples = LoggedSamples(log, "samples", max_rows=256, skip_lost=True)
    outcome = onlining.run(start, log, tmp_path / "run", samples=samples)
    assert outcome.step > before.step
    assert 0 < samples.lost <= 100
    assert outcome.samples == 3000 - samples.lost
    assert same_rows(_drained(follower_of(log, tmp_path / "run")).replica, tmp_path / "run")


def _drained(follower):
    while follower.poll():
        pass
    return follower


def test_a_follower_cut_off_until_its_deltas_were_gone_begins_anew(start, samples, tmp_path):
    log = DiskLog(tmp_path / "log", segment_bytes=1 << 14)
    onlining.log_of(tmp_path / "samples", samples).close()
    source = LoggedSamples(DiskLog(tmp_path / "samples"), "samples", max_rows=256)
    deltas = Deltas(log=log, chunk=2000, retention=Retention(size_bytes=60_000))
    followers = []

    def then(progress):
        if progress.step == 3:
            followers.append(follower_of(log, tmp_path / "run"))
            followers[0].poll()

    onlining.run(
        start,
        log,
        tmp_path / "run",
        samples=source,
        deltas=deltas,
        watcher=Recorder(then=then),
        publish_every_s=0.0,
    )
    cut_off = followers[0]
    assert cut_off.stand.sequence < 10
    _drained(cut_off)
    _drained(cut_off)
    assert "older events are gone" in cut_off.trouble
    assert cut_off.replaced == 2
    assert same_rows(cut_off.replica, tmp_path / "run")
    assert same_rows(_drained(follower_of(log, tmp_path / "run")).replica, tmp_path / "run")


def test_a_follower_gets_over_a_damaged_segment_of_deltas(start, samples, tmp_path):
    onlining.log_of(tmp_path / "log", samples).close()
    log = DiskLog(tmp_path / "log", segment_bytes=1 << 14)
    followers, damaged = [], []

    def then(progress):
        if progress.step == 5:
            followers.append(_drained(follower_of(log, tmp_path / "run")))
        if progress.step == 40:  # what it has not read yet, long written
            segment = sorted((tmp_path / "log" / "topics" / "deltas").rglob("*.segment"))[-2]
            raw = bytearray(segment.read_bytes())
            raw[len(raw) // 2] ^= 1
            segment.write_bytes(raw)
            damaged.append(segment)

    onlining.run(start, log, tmp_path / "run", watcher=Recorder(then=then), publish_every_s=0.0)
    follower = followers[0]
    _drained(follower)
    _drained(follower)
    assert f"'{damaged[0]}' is damaged" in follower.trouble
    assert same_rows(follower.replica, tmp_path / "run")
    assert not follower.waiting


def test_rows_age_by_event_time_if_asked_to(start, log, tmp_path):
    onlining.run(start, log, tmp_path / "run", clock="event_time")
    found = checkpoint.load(tmp_path / "run" / "versions")
    said = found.state["history"]["online"]
    assert Tables.load(newest(tmp_path / "run") / "tables").clock == said["event_ms"] // 1000


def test_a_folder_of_fit_and_a_start_that_is_none_are_refused(start, log, tmp_path):
    with pytest.raises(ConfigError, match="holds a run of fit; choose a folder of its own"):
        onlining.run(start, log, start)
    with pytest.raises(ConfigError, match="has no version to begin from"):
        onlining.run(tmp_path / "nowhere", log, tmp_path / "run")
    with pytest.raises(ConfigError, match="give ranker="):
        onlining.run(start, log, tmp_path / "run", ranker=None)


def test_the_folder_can_be_loaded_as_any_run(start, whole, samples):
    loaded = Run.load(whole, problem.ranker)
    assert loaded.config["online"]["batch_size"] == 64
    assert loaded.config["tasks"] == Run.load(start, problem.ranker).config["tasks"]
    for table in loaded.tables.specs:
        assert loaded.tables.rows(table) > 0
