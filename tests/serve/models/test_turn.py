import subprocess
import sys
import threading
import time

import pytest

from larix.errors import StorageError
from larix.serve.models.turn import Turn

HOLD = """
import sys, time
from pathlib import Path
from larix.serve.models.turn import Turn
with Turn(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""


def entering(turn):
    entered = threading.Event()

    def enter():
        with turn:
            entered.set()

    threading.Thread(target=enter, daemon=True).start()
    return entered


def test_another_process_waits_until_the_one_within_is_gone_however_it_ends(tmp_path):
    path = tmp_path / "turn"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "in\n"
        entered = entering(Turn(path))
        assert not entered.wait(0.3)
        holder.kill()
        assert entered.wait(30)
    finally:
        holder.kill()
        holder.communicate()


def test_a_thread_may_enter_again_and_others_wait_for_the_last_leaving(tmp_path):
    turn, other = (
        Turn(tmp_path / "turn"),
        Turn(tmp_path / "turn"),
    )  # another file of its own, as another process has
    with turn:
        with turn:
            pass
        waiting = [entering(turn), entering(other)]
        time.sleep(0.2)
        assert not any(each.is_set() for each in waiting)
    assert all(each.wait(10) for each in waiting)


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"):
        Turn(tmp_path / "none" / "turn")
