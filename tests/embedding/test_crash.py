"""A process is killed at random instants: whatever is on disk is whole, and is a state that there was."""

import os
import random
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import crashing
import pytest
from versions import contents, held

from larix.embedding import Follower, reference, table

SEED = 7


class Foretold:
    """The oracle, led through the same calls: what the tables hold at an instant."""

    def __init__(self):
        self.before = []  # earlier ones: a life may begin before the newest save of the one before
        self.tables = reference.Tables(crashing.SPECS, seed=SEED)

    def at(self, instant):
        """Before what prepares the next call, and after it."""
        while crashing.calls(self.tables) > crashing.calls(instant):
            self.tables = self.before.pop()
        self.before = [*self.before[-4:], deepcopy(self.tables)]
        while crashing.calls(self.tables) < crashing.calls(instant):
            crashing.call(self.tables, SEED)
        prepared = deepcopy(self.tables)
        crashing.prepare(prepared, SEED)
        return contents(self.tables), contents(prepared)


def kill_one(folder, budget, chance, early):
    """Let a process live for a while, then kill it: ``early``, maybe while it still reads what there is."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(Path(crashing.__file__)), str(folder), str(SEED), budget]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        if not early:
            assert process.stdout.readline() == "alive\n"
        time.sleep(chance.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


class Left:
    """What the dead leave in the folder of their cold rows."""

    def __init__(self, folder):
        self.folder = folder
        self.segments = self.merged = self.unfinished = 0

    def look(self, since):
        """What is there is of the last life, which began its own at ``since`` (None: maybe it had not yet)."""
        files = [path for path in self.folder.glob("*/*") if path.name != "lock"]
        old = [] if since is None else [path for path in files if path.stat().st_mtime < since]
        assert not old, "a life began with what an earlier one had left, and kept it"
        ages = [path.name.partition(".")[0].split("-") for path in files if path.suffix == ".segment"]
        self.segments += len(ages)
        self.merged += sum(first != last for first, last in ages)
        self.unfinished += len(files) - len(ages)

    def gone(self):
        assert not [path for path in self.folder.glob("*/*") if path.name != "lock"]


def kill(folder, times, chance, budget=""):
    logged, saved, left = Foretold(), Foretold(), Left(folder / "cold")
    versions, newest, sequence, number = set(), 0, 0, 0
    while number < times or (
        newest <= 20 * times and number < 5 * times
    ):  # a busy machine gets little done in each life
        began, early = time.time(), number % 4 == 3
        kill_one(folder, budget, chance, early)
        left.look(None if early else began)
        follower = Follower(folder / "log")
        rows = follower.rows()
        assert follower.instant.sequence >= sequence, "what had been appended is gone"
        newest, sequence = crashing.calls(follower.instant), follower.instant.sequence
        now = held(rows.values())
        assert now in logged.at(follower.instant)
        # Every other time in the place of the one that died, and of its cold rows; else the next one finds them.
        again = table.Tables.load(folder / "log", **crashing.room(folder, budget if number % 2 else ""))
        assert contents(again) == now
        if budget and number % 2:
            assert again.stats().cold.rows > 0 or len(again) < crashing.IDS
            del again
            left.gone()
        if (folder / "saved").exists() or (folder / ".saved.old").exists():
            loaded = table.Tables.load(folder / "saved")
            assert contents(loaded) in saved.at(loaded.origin)
        versions.add(follower.number)
        number += 1
    assert len(versions) > number / 2, "hardly anything was written between the kills"
    assert newest > 20 * times, "hardly anything was trained between the kills"
    if budget:
        assert left.segments > 5 * number, "hardly any row was on disk when a process died"
        assert left.merged > number / 5, "hardly any segments had been merged"
    return left


@pytest.mark.parametrize("budget", ["", crashing.BUDGET])
def test_the_newest_version_after_each_of_ten_kills_is_whole_and_as_foretold(tmp_path, budget):
    kill(tmp_path, 10, random.Random(1), budget)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("budget", ["", crashing.BUDGET])
def test_the_newest_version_after_each_of_two_hundred_kills_is_whole_and_as_foretold(tmp_path, budget):
    left = kill(tmp_path, 200, random.Random(2), budget)
    print(
        f"{left.segments} segments were left, {left.merged} of them merged, and {left.unfinished} unfinished"
    )
