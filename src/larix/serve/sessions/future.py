"""Futures made of futures, with nobody waiting in between. Knows nothing of what they hold."""

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar

First = TypeVar("First")
Result = TypeVar("Result")


def ready(result: Result) -> Future[Result]:
    """One that holds ``result``."""
    future: Future[Result] = Future()
    future.set_result(result)
    return future


def failed(error: BaseException) -> Future[Any]:
    """One that raises ``error``."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def begun(begin: Callable[[], Future[Result]]) -> Future[Result]:
    """What ``begin`` returns, or one that raises what it raised."""
    try:
        return begin()
    except Exception as error:
        return failed(error)


def then(first: Future[First], step: Callable[[First], Future[Result]]) -> Future[Result]:
    """``step`` of what ``first`` holds, called where that is resolved. Cancelling it cancels what is under way of the two."""
    whole: Future[Result] = Future()
    now: list[Future[Any]] = [
        first
    ]  # what is under way; emptied in the end, or whole would hold itself in memory

    def halfway(done: Future[First]) -> None:
        now.clear()
        if whole.cancelled() or not _goes_on(done, whole):
            return
        second = begun(lambda: step(done.result()))
        now.append(second)
        if whole.cancelled():
            second.cancel()
        second.add_done_callback(finished)

    def finished(done: Future[Result]) -> None:
        now.clear()
        if _goes_on(done, whole):
            with contextlib.suppress(InvalidStateError):  # cancelled meanwhile
                whole.set_result(done.result())

    def cancel(whole: Future[Result]) -> None:
        if whole.cancelled():
            for each in now[:]:
                each.cancel()

    whole.add_done_callback(cancel)
    first.add_done_callback(halfway)
    return whole


def _goes_on(done: Future[Any], whole: Future[Any]) -> bool:
    """Whether ``done`` went well; otherwise ``whole`` ends as it did."""
    if done.cancelled():
        whole.cancel()
        return False
    error = done.exception()
    if error is None:
        return True
    with contextlib.suppress(InvalidStateError):
        whole.set_exception(error)
    return False
