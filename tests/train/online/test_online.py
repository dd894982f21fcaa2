import os
import subprocess
import sys

import online_kills
import onlining
import pytest
from online_states import state_of, windows_of

from larix.train import checkpoint


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return onlining.begin(tmp_path_factory.mktemp("start")).folder


def kill(start, folder, kills, rows, seed):
    """A run that is killed so often, and one that never is, on the same samples."""
    onlining.log_of(folder / "log", onlining.feed(folder / "feed", rows=rows)).close()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, online_kills.__file__, start, folder / "log", folder / "killed", kills, seed]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, env=environment, check=False
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
    subprocess.run([str(word) for word in command], env=environment, check=True)
    assert state_of(folder / "killed") == state_of(folder / "whole")
    assert windows_of(folder / "killed") == windows_of(folder / "whole")
    assert checkpoint.load(folder / "whole" / "versions").point.samples == rows
    return done.stdout


def test_ten_kills_leave_no_trace_in_the_run_nor_in_its_followers(start, tmp_path):
    kill(start, tmp_path, 10, 20_000, 1)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_hundred_kills_leave_no_trace(start, tmp_path):
    print(kill(start, tmp_path, 100, 150_000, 2))
