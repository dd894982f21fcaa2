import onlining
import pytest
from online_states import follower_of, newest, same_rows, state_of, weights_of
from onlining import Recorder

from larix.data.log import Lease, LeaseError
from larix.errors import ConfigError
from larix.train import checkpoint, version
from larix.train.online import Deltas, Published, rollback

KEPT = {"keep": 100, "save_every_s": 0.0}


def drained(follower):
    while follower.poll():
        pass
    return follower


@pytest.fixture
def folder(start, log, tmp_path):
    onlining.run(start, log, tmp_path / "run", **KEPT)
    return tmp_path / "run"


def test_followers_go_back_at_once_and_come_along_when_the_run_goes_on(start, whole, log, folder):
    running = drained(follower_of(log, folder))
    there = version.versions(folder / "versions")
    to = there[len(there) // 2]
    assert rollback(folder, to.name, deltas=Deltas(log=log)) == to
    assert version.versions(folder / "versions")[-1] == to
    assert len(list((folder / "rolled-back").iterdir())) == len(there) - len(there) // 2 - 1
    drained(running)
    assert running.stand.sequence == checkpoint.read(to).point.step + 1
    assert same_rows(running.replica, folder)
    new = drained(follower_of(log, folder))
    assert new.stand == running.stand
    onlining.run(start, log, folder, rows_scale=0.5)
    for follower in (running, new):
        assert same_rows(drained(follower).replica, folder)
        assert not follower.waiting
    assert weights_of(newest(folder)) != weights_of(newest(whole))


def test_a_run_that_goes_on_unchanged_comes_out_the_same(start, whole, log, folder):
    to = version.versions(folder / "versions")[1]
    rollback(folder, to.name)
    recorder = Recorder()
    onlining.run(start, log, folder, watcher=recorder)
    assert recorder.of(Published)[0].kind == "fence", "whoever was not told then is told now"
    assert state_of(folder) == state_of(whole)


def test_without_a_topic_followers_go_back_when_the_run_goes_on(start, log, folder):
    running = drained(follower_of(log, folder))
    at = running.stand
    to = version.versions(folder / "versions")[1]
    rollback(folder, to.name)
    assert not running.poll()
    onlining.run(start, log, folder)
    drained(running)
    assert running.stand.history != at.history
    assert same_rows(running.replica, folder)


def test_a_version_that_is_not_there_or_a_run_that_goes_on_is_refused(start, folder):
    with pytest.raises(ConfigError, match="has no version 'step-0000009999'; it has step-"):
        rollback(folder, "step-0000009999")
    with pytest.raises(ConfigError, match="is not of an online run"):
        rollback(start, version.versions(start / "versions")[-1].name)
    with Lease(folder / "lease", "the run"), pytest.raises(LeaseError, match="stop that one first"):
        rollback(folder, version.versions(folder / "versions")[0].name)
