"""The whole loop: events, join, trainer, deltas, follower, in processes of their own; killed, stopped, gone on with."""

import io
import json
import os
import shutil
import signal
import sys
from dataclasses import replace

import pytest
import small_feed
from rich.console import Console

from larix.data.log import DiskLog
from larix.errors import ConfigError
from larix.recipes.replay import Place, replay
from larix.recipes.replay.worker import Worker

SPEED = 40_000.0  # two days in some four seconds


def copied(trained, to):
    return shutil.copytree(trained, to, ignore=shutil.ignore_patterns("replay"))


@pytest.fixture(scope="session")
def whole(trained, tmp_path_factory):
    """A replay that nothing happened to, and its run's folder."""
    folder = copied(trained, tmp_path_factory.mktemp("whole") / "run")
    console = Console(file=io.StringIO(), width=200)
    return replay(folder, console, speed=SPEED), folder, console.file.getvalue()


def learned(folder):
    """Step -> what was tested in it, scores and labels to the bit. A step that came again must have come the same."""
    found = {}
    with DiskLog(Place.of(folder).log) as log, log.consumer("tested") as consumer:
        for events in consumer.drain():
            (step,) = set(events.rows["step"].to_pylist())
            assert found.setdefault(step, events.rows).equals(events.rows)
    return found


def test_every_impression_becomes_a_sample_is_tested_learned_and_answered(whole):
    found, folder, said = whole
    place = Place.of(folder)
    told = place.told()
    assert (told.first, told.last, told.trained_to) == ("2022-04-27", "2022-04-28", "2022-04-26")
    with DiskLog(place.log) as log:
        impressions, actions = (log.newest(topic).next[0] for topic in ("impressions", "actions"))
    assert found["samples"] == found["answers"] == found["served"]["samples"] == impressions > 1000
    assert found["events"] == impressions + actions
    assert actions > impressions
    assert f"{impressions:,} impressions of 2022-04-27 to 2022-04-28" in said
    for task in ("is_click", "long_view"):
        online, frozen = (found["total"][which][task] for which in ("online", "frozen"))
        assert online["logloss"] < frozen["logloss"]  # of a run that had hardly begun
        assert found["served"]["tasks"][task]["logloss"] < frozen["logloss"]
    assert 0 < found["new_items"]["samples"] < found["samples"]
    fresh = found["freshness"]
    assert 0 < fresh["p50_s"] <= fresh["p99_s"] < 20
    assert fresh["samples"] > 0.8 * found["samples"]
    assert found["restarts"] == 0
    assert found["alarms"] == {}
    assert found["join"]["samples"] == impressions
    for fate in found["join"]["kinds"].values():
        assert fate["accepted"] == sum(fate.values())  # nothing late, nothing twice, no orphan


def test_the_report_shows_it(whole):
    found, folder, _ = whole
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Replayed online" in page
    assert f"{found['total']['online']['is_click']['auc']:.4f}" in page
    assert json.loads((folder / "metrics.json").read_text())["online"]["state"] == "finished"


def test_a_trainer_and_a_follower_that_are_killed_leave_no_trace_in_what_is_learned(
    trained, whole, quiet, tmp_path, monkeypatch
):
    pids, killed = {}, []
    begin = Worker._begin

    def remembered(self):
        begin(self)
        pids[self.name] = self.pid

    monkeypatch.setattr(Worker, "_begin", remembered)

    def watch(standing):
        for name, samples in (("follower", 200), ("trainer", 700)):
            if standing.samples > samples and name not in killed:
                os.kill(pids[name], signal.SIGKILL)
                killed.append(name)

    folder = copied(trained, tmp_path / "run")
    found = replay(folder, quiet, speed=SPEED, watch=watch)
    assert killed == ["follower", "trainer"]
    assert found["restarts"] == 2
    assert found["samples"] == whole[0]["samples"]
    assert learned(folder) == learned(whole[1])


def test_one_that_was_stopped_goes_on_where_it_was_with_the_data_it_was_told(
    trained, whole, data, quiet, tmp_path
):
    folder = copied(trained, tmp_path / "run")
    seen = []

    def watch(standing):
        if standing.samples > 300 and not seen:
            seen.append(standing.samples)
            signal.raise_signal(signal.SIGINT)

    elsewhere = small_feed.copy(data, tmp_path / "elsewhere")
    with pytest.raises(KeyboardInterrupt, match=r"go on by: larix replay .*run --resume"):
        replay(folder, quiet, data=elsewhere, speed=SPEED, watch=watch)
    assert json.loads((folder / "metrics.json").read_text())["online"]["state"] == "interrupted"
    with pytest.raises(ConfigError, match="holds a replay; go on with it by --resume"):
        replay(folder, quiet)
    for told in ({"data": data}, {"first": "2022-04-27"}, {"partitions": 1}):
        with pytest.raises(ConfigError, match="are as it was begun"):
            replay(folder, quiet, resume=True, **told)
    again = Console(file=io.StringIO(), width=200)
    found = replay(folder, again, speed=None, resume=True)
    assert f"from {elsewhere}" in again.file.getvalue()
    assert found["samples"] == whole[0]["samples"]
    assert learned(folder) == learned(whole[1])


def test_over_several_partitions_keyed_by_user_it_learns_the_same_though_it_is_stopped_and_killed(
    trained, whole, quiet, tmp_path, monkeypatch
):
    folder = copied(trained, tmp_path / "run")
    trainers, seen = [], []
    begin = Worker._begin

    def remembered(self):
        begin(self)
        trainers.extend([self.pid] if self.name == "trainer" else [])

    monkeypatch.setattr(Worker, "_begin", remembered)

    def watch(standing):
        if standing.samples > 300 and not seen:
            seen.append("stopped")
            signal.raise_signal(signal.SIGINT)
        if standing.samples > 700 and seen == ["stopped"]:
            seen.append("killed")
            os.kill(trainers[-1], signal.SIGKILL)

    with pytest.raises(KeyboardInterrupt):
        replay(folder, quiet, speed=SPEED, partitions=3, watch=watch)
    found = replay(folder, quiet, speed=SPEED, resume=True, watch=watch)
    assert seen == ["stopped", "killed"]
    assert (found["samples"], found["answers"]) == (whole[0]["samples"], whole[0]["answers"])
    assert learned(folder) == learned(whole[1])
    with DiskLog(Place.of(folder).log) as log:
        assert all(log.newest("impressions").next[partition] > 0 for partition in range(3))


def test_a_recipe_that_does_not_say_what_its_events_are_keyed_by_has_one_partition(
    trained, quiet, tmp_path, monkeypatch
):
    module = sys.modules["larix.recipes.replay.replay"]

    def live_of(recipe):
        return replace(recipe.live, unjoin=lambda schema: replace(recipe.live.unjoin(schema), keyed=None))

    monkeypatch.setattr(module, "live_of", live_of)
    with pytest.raises(ConfigError, match="does not say what its events are keyed by"):
        replay(trained, quiet, at=tmp_path / "none", partitions=2)


def test_days_that_cannot_be_replayed_are_refused(trained, quiet, tmp_path):
    for told, why in (
        ({"first": "2022-04-26"}, "must come in the order trained, first, measured, last"),
        ({"last": "2022-04-26"}, "must come in the order"),
        ({"speed": 0.0}, "the speed is 0.0; it must be above 0"),
    ):
        with pytest.raises(ConfigError, match=why):
            replay(trained, quiet, at=tmp_path / "none", **told)
    assert not (tmp_path / "none").exists()
