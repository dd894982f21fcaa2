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
    """The oracle, led through the same calls: what the tables hold at the end of a sequence number."""

    def __init__(self):
        self.before = []  # earlier ones: a life may begin before the newest save of the one before
        self.tables = reference.Tables(crashing.SPECS, seed=SEED)

    def at(self, sequence):
        while self.tables.sequence - 1 > sequence:
            self.tables = self.before.pop()
        self.before = [*self.before[-4:], deepcopy(self.tables)]
        while self.tables.sequence - 1 < sequence:
            crashing.call(self.tables, SEED)
        return contents(self.tables)


def kill_one(folder, chance, early):
    """Let a process live for a while, then kill it: ``early``, maybe while it still reads what there is."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(Path(crashing.__file__)), str(folder), str(SEED)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        if not early:
            assert process.stdout.readline() == "alive\n"
        time.sleep(chance.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def kill(folder, times, chance):
    logged, saved = Foretold(), Foretold()
    versions, newest, number = set(), 0, 0
    while number < times or (
        newest <= 20 * times and number < 5 * times
    ):  # a busy machine gets little done in each life
        kill_one(folder, chance, early=number % 4 == 3)
        follower = Follower(folder / "log")
        rows = follower.rows()
        assert follower.instant.sequence >= newest, "what had been appended is gone"
        newest = follower.instant.sequence
        now = logged.at(newest)
        assert held(rows.values()) == now
        assert contents(table.Tables.load(folder / "log")) == now
        if (folder / "saved").exists() or (folder / ".saved.old").exists():
            loaded = table.Tables.load(folder / "saved")
            assert contents(loaded) == saved.at(loaded.origin.sequence)
        versions.add(follower.number)
        number += 1
    assert len(versions) > number / 2, "hardly anything was written between the kills"
    assert newest > 20 * times, "hardly anything was trained between the kills"


def test_the_newest_version_after_each_of_ten_kills_is_whole_and_as_foretold(tmp_path):
    kill(tmp_path, 10, random.Random(1))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_newest_version_after_each_of_two_hundred_kills_is_whole_and_as_foretold(tmp_path):
    kill(tmp_path, 200, random.Random(2))
