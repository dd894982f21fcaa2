import os
import signal
import subprocess
import sys

import pytest

from larix.data.log.lease import Lease, LeaseError
from larix.errors import StorageError

HOLD = r"""
import os, sys, time
from pathlib import Path
from larix.data.log.lease import Lease
lease = Lease(Path(sys.argv[1]), "the pen")
if len(sys.argv) > 2 and os.fork() == 0:
    assert not lease.held
    os.write(1, f"{os.getpid()}\n".encode())
    time.sleep(60)
    os._exit(0)
os.write(1, f"{os.getpid()}\n".encode())
time.sleep(60)
"""


def held_elsewhere(path, *more):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, path, *more], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_a_second_is_refused_and_told_whose_it_is(tmp_path):
    with Lease(tmp_path / "lease", "the pen") as lease:
        assert lease.held
        with pytest.raises(LeaseError, match=f"the pen is process {os.getpid()} on .*'s: only one process"):
            Lease(tmp_path / "lease", "the pen")
    assert not lease.held
    with Lease(tmp_path / "lease", "the pen") as again:
        assert again.term == lease.term + 1 == 2


def test_a_killed_owner_has_it_no_longer(tmp_path):
    owner = held_elsewhere(tmp_path / "lease")
    pid = int(owner.stdout.readline())
    with pytest.raises(LeaseError, match=f"process {pid}"):
        Lease(tmp_path / "lease", "the pen")
    owner.send_signal(signal.SIGSTOP)  # however long it is held up, it stays the owner
    with pytest.raises(LeaseError):
        Lease(tmp_path / "lease", "the pen")
    owner.kill()
    owner.wait()
    with Lease(tmp_path / "lease", "the pen") as lease:
        assert lease.term == 2
    owner.stdout.close()


def test_a_child_that_outlives_its_parent_does_not_keep_it(tmp_path):
    owner = held_elsewhere(tmp_path / "lease", "fork")
    pids = {int(owner.stdout.readline()) for _ in range(2)}
    (child,) = pids - {owner.pid}
    try:
        with pytest.raises(LeaseError):
            Lease(tmp_path / "lease", "the pen")
        owner.kill()
        owner.wait()
        Lease(tmp_path / "lease", "the pen").close()
    finally:
        os.kill(child, signal.SIGKILL)
        owner.stdout.close()


def test_a_file_that_says_nothing_is_taken_as_a_first_lease(tmp_path):
    (tmp_path / "lease").write_bytes(b"\x00rubbish")
    with Lease(tmp_path / "lease", "the pen") as lease:
        assert lease.term == 1


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"):
        Lease(tmp_path / "none" / "lease", "the pen")
