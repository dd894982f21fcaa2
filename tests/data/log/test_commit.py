import threading
import time

import pytest

from larix.data.log.commit import Committer
from larix.data.log.writer import Ticket
from larix.errors import StorageError


class Disk:
    """Notes what is waited for; fails for the eras in ``bad``."""

    def __init__(self, bad=()):
        self.bad = set(bad)
        self.waited = []
        self.changed = threading.Event()

    def wait(self, ticket):
        self.waited.append(ticket)
        self.changed.set()
        if ticket.era in self.bad:
            raise StorageError(f"era {ticket.era}")


@pytest.fixture
def committer():
    made = []

    def make(every_s):
        made.append(Committer(every_s))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_what_was_added_is_waited_for_without_being_asked(committer):
    disk = Disk()
    committer(0.001).add(disk, Ticket(0, 5, 0))
    assert disk.changed.wait(10)


def test_many_in_one_interval_are_one_wait(committer):
    disk, slow = Disk(), committer(60)
    for n in range(100):
        slow.add(disk, Ticket(n, n + 1, 0))
    assert not disk.waited
    slow.flush()
    assert disk.waited == [Ticket(0, 1, 0), Ticket(99, 100, 0)]
    slow.flush()
    assert len(disk.waited) == 2


@pytest.mark.parametrize("bad", [0, 1])
def test_a_failure_of_the_first_or_the_last_is_told_once(committer, bad):
    disk, slow = Disk([bad]), committer(60)
    slow.add(disk, Ticket(0, 1, 0))
    slow.add(disk, Ticket(1, 2, 1))
    with pytest.raises(StorageError, match=f"era {bad}"):
        slow.flush()
    slow.flush()


def test_a_failure_on_the_thread_is_told_to_the_next_who_comes(committer):
    disk, fast = Disk([0]), committer(0.001)
    fast.add(disk, Ticket(0, 1, 0))
    assert disk.changed.wait(10)

    def go_on():
        while time.monotonic() < until:
            fast.add(disk, Ticket(1, 2, 1))
            time.sleep(0.001)

    until = time.monotonic() + 10
    with pytest.raises(StorageError, match="era 0"):
        go_on()


def test_flush_waits_for_what_the_thread_is_waiting_for(committer):
    disk, fast = Disk(), committer(0.001)
    going = threading.Event()
    wait = disk.wait

    def slowly(ticket):
        going.set()
        time.sleep(0.2)
        wait(ticket)

    disk.wait = slowly
    fast.add(disk, Ticket(0, 1, 0))
    assert going.wait(10)
    fast.flush()
    assert disk.waited


def test_no_thread_is_begun_before_it_is_needed_and_it_ends(committer):
    before = threading.active_count()
    idle = committer(0.001)
    assert threading.active_count() == before
    idle.add(Disk(), Ticket(0, 1, 0))
    assert threading.active_count() == before + 1
    idle.close()
    assert threading.active_count() == before


def test_an_end_that_comes_between_two_looks_of_the_thread_is_not_lost():
    ours, clear = Committer(0.001), None

    def ended_meanwhile():
        ours._ended.set()  # as `close` does, just before the thread clears what it was woken by
        ours._some.set()
        clear()

    clear, ours._some.clear = ours._some.clear, ended_meanwhile
    ours.add(Disk(), Ticket(0, 1, 0))
    ours._thread.join(10)
    assert not ours._thread.is_alive()
