import os
import signal
import subprocess
import sys
import time

import pytest

from larix.errors import ConfigError, LarixError
from larix.recipes.replay.worker import END, Worker


def until(true, seconds=120.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def counting(folder, control):
    """Leaves a file a start; ends when there is no more, or when told to stop."""
    (folder / f"start-{len(list(folder.iterdir()))}").touch()
    control.end.wait(240)
    (folder / "ended").touch()


def failing(folder, control):
    raise ConfigError("no such thing; choose another")


def broken(folder, control):
    raise ZeroDivisionError("oh")


def stopping(folder, control):
    (folder / "there").touch()
    if control.stop.wait(240):
        (folder / "stopped").touch()


def test_one_that_is_killed_begins_again_and_hears_what_it_was_told(tmp_path):
    worker = Worker("counter", counting, tmp_path)
    for killed in range(2):
        until(lambda killed=killed: (tmp_path / f"start-{killed}").exists())
        first = worker.pid
        os.kill(first, signal.SIGKILL)
        until(lambda: worker._process.exitcode is not None)
        assert not worker.done
        worker.look()
        assert worker.pid != first
    assert worker.restarts == 2
    worker.tell(END)
    until(lambda: worker.done)
    worker.look()  # is content
    assert (tmp_path / "ended").exists()
    worker.close()


def test_what_it_was_told_before_it_was_killed_is_told_again(tmp_path):
    worker = Worker("counter", counting, tmp_path)
    os.kill(worker.pid, signal.SIGKILL)  # before it could listen
    worker.tell(END)
    until(lambda: worker._process.exitcode is not None)
    worker.look()
    until(lambda: worker.done)
    worker.close()


def test_one_that_fails_says_why_and_one_that_is_killed_for_ever_is_given_up(tmp_path):
    for part, why in (
        (failing, "the failing ended: no such thing; choose another"),
        (broken, "ZeroDivisionError: oh"),
    ):
        worker = Worker("failing", part, tmp_path)
        until(lambda worker=worker: worker._process.exitcode is not None)
        with pytest.raises(LarixError, match=why):
            worker.look()
        worker.close()
    worker = Worker("mortal", stopping, tmp_path, most=0)
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: worker._process.exitcode is not None)
    with pytest.raises(LarixError, match="signal 9 for the 1th time"):
        worker.look()
    worker.close()


def test_closing_lets_it_stop_in_its_own_way(tmp_path):
    worker = Worker("stopper", stopping, tmp_path)
    until(lambda: (tmp_path / "there").exists())
    os.kill(worker.pid, signal.SIGINT)  # as Ctrl-C in a terminal does; it waits for the parent's word
    worker.close()
    assert (tmp_path / "stopped").exists()
    assert worker.done


def test_a_parent_that_is_killed_stops_it(tmp_path):
    code = (
        f"import sys, time; sys.path[:0] = {[*sys.path]!r}\n"
        "if __name__ == '__main__':\n"
        "    from pathlib import Path\n"
        "    from larix.recipes.replay.worker import Worker\n"
        "    from stopping_part import stopping\n"
        f"    Worker('stopper', stopping, Path({str(tmp_path)!r}))\n"
        "    time.sleep(60)\n"
    )
    (tmp_path / "stopping_part.py").write_text(
        "def stopping(folder, control):\n    (folder / 'there').touch()\n"
        "    control.stop.wait(240)\n    (folder / 'stopped').touch()\n"
    )
    (tmp_path / "parent.py").write_text(code)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    until(lambda: (tmp_path / "there").exists())
    parent.kill()
    parent.wait()
    until(lambda: (tmp_path / "stopped").exists())
