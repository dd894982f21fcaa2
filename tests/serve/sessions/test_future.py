import weakref
from concurrent.futures import CancelledError, Future

import pytest

from larix.serve.sessions.future import begun, failed, ready, then


def test_the_second_begins_when_the_first_is_there():
    first, second, seen = Future(), Future(), []
    whole = then(first, lambda result: seen.append(result) or second)
    assert not whole.done()
    first.set_result(1)
    assert seen == [1]
    assert not whole.done()
    second.set_result(2)
    assert whole.result(0) == 2


def test_what_went_wrong_first_or_second_went_wrong():
    steps = []
    assert isinstance(then(failed(ValueError("a")), steps.append).exception(0), ValueError)
    assert steps == []
    assert str(then(ready(1), lambda _: failed(ValueError("b"))).exception(0)) == "b"
    assert isinstance(then(ready(1), lambda one: one / 0).exception(0), ZeroDivisionError)
    assert isinstance(begun(lambda: 1 / 0).exception(0), ZeroDivisionError)


def test_cancelling_cancels_what_is_under_way():
    first, second = Future(), Future()
    whole = then(first, lambda _: second)
    assert whole.cancel()
    assert first.cancelled()
    first = Future()
    whole = then(first, lambda _: second)
    first.set_result(1)
    assert whole.cancel()
    assert second.cancelled()
    second.set_running_or_notify_cancel()
    assert whole.cancelled()


def test_nothing_is_begun_for_a_whole_that_was_cancelled():
    first, steps = Future(), []
    first.set_running_or_notify_cancel()  # it cannot be cancelled any more
    whole = then(first, steps.append)
    whole.cancel()
    first.set_result(1)
    assert steps == []


def test_what_is_begun_while_the_whole_is_cancelled_is_cancelled():
    first, second = Future(), Future()
    whole = then(first, lambda _: whole.cancel() and second)
    first.set_result(1)
    assert second.cancelled()


def test_a_part_that_is_cancelled_cancels_the_whole():
    first = Future()
    whole = then(first, ready)
    first.cancel()
    with pytest.raises(CancelledError):
        whole.result(0)


def test_a_result_is_in_memory_no_longer_than_whoever_asked_holds_it():
    class Result:
        pass

    parts = [Future(), Future()]
    whole = then(parts[0], lambda _: parts[1])
    parts[0].set_result(1)
    parts[1].set_result(Result())
    result = weakref.ref(whole.result(0))
    parts.clear()
    assert result() is not None
    del whole
    assert result() is None  # at once: no collector is waited for
