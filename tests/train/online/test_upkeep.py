import json
import os
import subprocess
import sys
import time

import numpy as np
import onlining
import pyarrow as pa
import pytest
from online_states import follower_of, newest, same_rows, state_of, weights_of
from onlining import Recorder

from larix.train import version
from larix.train.online import Alarm, Drift, Published, Saved

BAND = {
    "drift": Drift(calibration=(0.7, 3.0), positives=20, loss_jump=None),
    "span_s": 1e6,
    "save_every_s": 0.0,
    "publish_every_s": 0.0,
}


def drained(follower):
    while follower.poll():
        pass
    return follower


def test_a_full_disk_stops_publishing_and_saving_but_not_training(start, samples, tmp_path):
    folder = tmp_path / "run"
    for name, words in (("whole", {"topic": "other"}), ("run", {"full": [8, 40]})):
        with onlining.log_of(tmp_path / f"log of {name}", samples):
            pass
        command = [sys.executable, onlining.__file__, start, tmp_path / f"log of {name}", tmp_path / name]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [*map(str, command), json.dumps(words)],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "storage the last delta is not published" in done.stdout
    assert "File too large" in done.stdout
    steps = {int(line.split()[0]) for line in done.stdout.splitlines() if " storage " in line}
    assert steps <= set(range(8, 41)), "once there was room, all went well again"
    assert state_of(folder) == state_of(tmp_path / "whole")
    log = onlining.DiskLog(tmp_path / "log of run")
    assert same_rows(drained(follower_of(log, folder)).replica, folder)


def test_a_disk_that_stays_full_ends_with_an_error_and_the_last_good_version(start, samples, tmp_path):
    with onlining.log_of(tmp_path / "log", samples):
        pass
    command = [sys.executable, onlining.__file__, start, tmp_path / "log", tmp_path / "run"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [json.dumps({"full": [8, 10_000]}), "{}"]
    done = [
        subprocess.run(
            [*map(str, command), each], capture_output=True, text=True, env=environment, check=False
        )
        for each in words
    ]
    assert done[0].returncode == 2
    assert "StorageError" in done[0].stdout
    assert done[1].returncode == 0, done[1].stderr
    assert version.versions(tmp_path / "run" / "versions")[-1].name == "step-0000000050"
    log = onlining.DiskLog(tmp_path / "log")
    assert same_rows(drained(follower_of(log, tmp_path / "run")).replica, tmp_path / "run")


@pytest.fixture
def strange(samples):
    """Samples of which a third, in the middle, are clicked on by everybody."""
    clicked = np.asarray(samples["is_click"]).copy()
    clicked[1000:2000] = 1
    return samples.set_column(samples.schema.get_field_index("is_click"), "is_click", pa.array(clicked))


def test_drift_holds_publishing_keeps_the_last_good_version_and_trains_on(start, strange, tmp_path):
    recorder, folder = Recorder(), tmp_path / "run"
    shown = []

    def then(progress):
        time.sleep(0.02 if progress.held else 0.0)
        if progress.held and not shown:
            follower = drained(follower_of(log, folder))
            shown.append(follower)

    recorder.then = then
    with onlining.log_of(tmp_path / "log", strange) as log:
        onlining.run(start, log, folder, watcher=recorder, keep=1, **BAND)
        held, released = (each for each in recorder.of(Alarm) if each.what in ("held", "released"))
        assert "calibration of 'is_click' is 0." in held.text
        quiet = range(held.step, released.step)
        assert len(quiet) > 5
        assert not {each.step for each in recorder.of(Published)} & set(quiet)
        during = [each for each in recorder.of(Saved) if each.step in quiet]
        assert during, "versions for a crash are saved all the same"
        good = shown[0]
        assert drained(good).replica is not None
        assert same_rows(good.replica, folder)
        assert good.waiting == ""


def test_what_is_held_stays_held_over_a_crash_and_comes_by_a_snapshot_then(start, strange, tmp_path):
    folder = tmp_path / "run"
    with onlining.log_of(tmp_path / "log", strange) as log:
        recorder = Recorder()

        def then(progress):
            time.sleep(0.05 if progress.held else 0.0)  # so that versions come while it is held
            if progress.held and any(each.step > held_at(recorder) + 2 for each in recorder.of(Saved)):
                raise onlining.CrashError

        recorder.then = then
        with pytest.raises(onlining.CrashError):
            onlining.run(start, log, folder, watcher=recorder, keep=1, **BAND)
        good = [path.name for path in version.versions(folder / "versions")]
        held = [int(name.removeprefix("step-")) >= held_at(recorder) for name in good]
        assert held == [False] + [True] * (len(good) - 1), "the last good one, and the newest"
        follower = drained(follower_of_good(log, folder))
        shown = follower.stand
        assert shown.sequence <= held_at(recorder)
        second = Recorder()
        onlining.run(start, log, folder, watcher=second, keep=1, **BAND)
        alarms = [each.what for each in second.of(Alarm)]
        assert alarms == ["released"]
        released = second.of(Alarm)[0].step
        assert min(each.step for each in second.of(Published)) >= released
        assert next(each.kind for each in second.of(Published)) == "snapshot"
        assert same_rows(drained(follower).replica, folder)
        assert follower.replaced == 2


def held_at(recorder):
    return next((each.step for each in recorder.of(Alarm) if each.what == "held"), 1 << 60)


def follower_of_good(log, folder):
    follower = follower_of(log, folder)
    follower.poll()
    return follower


def test_versions_are_pruned_and_the_newest_is_the_state_at_the_end(start, log, tmp_path):
    onlining.run(start, log, tmp_path / "run", keep=3)
    there = version.versions(tmp_path / "run" / "versions")
    assert 1 < len(there) <= 4
    assert there[-1] == newest(tmp_path / "run")
    assert weights_of(there[-1]) != weights_of(there[0])
    assert not list((tmp_path / "run" / "versions").glob(".staged"))
