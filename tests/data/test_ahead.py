import gc
import threading
import time

import pytest

from larix.data.ahead import Ahead


def numbers(stop, log=None, fail_at=None):
    try:
        for at in range(stop):
            if at == fail_at:
                raise OSError(f"no number {at}")
            if log is not None:
                log.append(at)
            yield at
    finally:
        if log is not None:
            log.append("closed")


def wait_until(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited for 5 s")


def test_items_come_in_order_and_the_thread_ends():
    ahead = Ahead(numbers(100), 3)
    assert list(ahead) == list(range(100))
    ahead._thread.join(5)
    assert not ahead._thread.is_alive()
    assert list(ahead) == []


def test_no_more_than_size_items_are_made_in_advance():
    log = []
    with Ahead(numbers(100, log), 3) as ahead:
        assert next(ahead) == 0
        wait_until(lambda: len(log) >= 5)
        time.sleep(0.05)
        assert log == [0, 1, 2, 3, 4]  # one taken, three waiting, one in the thread's hand


def test_items_are_made_while_the_consumer_is_busy():
    log = []
    with Ahead(numbers(3, log), 5):
        wait_until(lambda: log == [0, 1, 2, "closed"])


def test_an_error_comes_after_the_items_before_it_and_then_the_end():
    ahead = Ahead(numbers(10, fail_at=2), 5)
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(OSError, match="no number 2"):
        next(ahead)
    assert list(ahead) == []


def test_closing_ends_the_thread_and_closes_the_items():
    log = []
    ahead = Ahead(numbers(100, log), 2)
    next(ahead)
    ahead.close()
    assert not ahead._thread.is_alive()
    assert log[-1] == "closed"
    assert list(ahead) == []
    ahead.close()


def test_an_iterator_nobody_holds_ends_its_thread():
    log = []
    ahead = Ahead(numbers(100, log), 2)
    next(ahead)
    thread = ahead._thread
    del ahead
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
    assert log[-1] == "closed"


def test_one_ahead_of_another_is_closed_with_it():
    def doubled(inner):
        with inner:
            for item in inner:
                yield item * 2

    before = threading.active_count()
    outer = Ahead(doubled(Ahead(numbers(1000), 2)), 2)
    assert [next(outer), next(outer)] == [0, 2]
    outer.close()
    wait_until(lambda: threading.active_count() == before)
