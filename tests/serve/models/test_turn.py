import errno
import fcntl
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


def test_whoever_may_come_again_is_let_in_only_if_nobody_is_within(tmp_path):
    turn, other = Turn(tmp_path / "turn"), Turn(tmp_path / "turn")
    with turn, other.if_free() as free:
        assert not free
    with turn, turn.if_free() as free:
        assert free, "it is its own turn"
    with other.if_free() as free:
        assert free
        entered = entering(turn)
        assert not entered.wait(0.2)
    assert entered.wait(10)


def test_who_waits_goes_before_whoever_comes_again_and_again(tmp_path):
    turn, other, over = Turn(tmp_path / "turn"), Turn(tmp_path / "turn"), threading.Event()

    def again(one):
        while not over.is_set():
            with one.if_free() as free:
                time.sleep(0.05 if free else 0.001)

    threads = [threading.Thread(target=again, args=(each,)) for each in (turn, turn, other, other)]
    for each in threads:
        each.start()
    try:
        for each in (turn, other) * 3:
            assert entering(each).wait(10)
    finally:
        over.set()
        for each in threads:
            each.join()


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"):
        Turn(tmp_path / "none" / "turn")


@pytest.mark.parametrize("enter", [Turn.__enter__, lambda turn: turn.if_free().__enter__()])
def test_one_who_could_not_get_in_keeps_no_other_thread_out(tmp_path, monkeypatch, enter):
    turn = Turn(tmp_path / "turn")

    def fail(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    with monkeypatch.context() as broken:
        broken.setattr(fcntl, "flock", fail)
        with pytest.raises(OSError, match="no locks"):
            enter(turn)
    assert entering(turn).wait(20)
