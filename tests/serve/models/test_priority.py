import os
import sys
import threading

import pytest

from larix.serve.models.priority import NICE, behind, give_way

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ranks threads one by one")


def rank():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_work_behind_is_of_lower_priority_and_the_caller_stays_as_it_was():
    before = rank()
    assert behind(rank) == max(NICE, before)
    assert rank() == before


def test_a_thread_that_gives_way_twice_gives_way_as_much():
    def twice():
        give_way()
        once = rank()
        give_way()
        return once == rank()

    assert behind(twice)


def test_what_work_raises_comes_to_whoever_asked_for_it():
    with pytest.raises(ZeroDivisionError):
        behind(lambda: 1 / 0)
