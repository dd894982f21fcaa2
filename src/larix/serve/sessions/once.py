"""One computation for all who ask the same, as a client and its retries do. Knows nothing of what is computed."""

import contextlib
from collections.abc import Callable, Hashable
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from larix.errors import DataError
from larix.serve.refusal import Refusal, Why
from larix.serve.sessions.future import begun, ready

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Asking(Generic[Result]):
    """Someone who waits: until when, and how it would be computed for him."""

    deadline: float
    begin: Callable[[], Future[Result]]


@dataclass(slots=True, eq=False)
class _Flight(Generic[Result]):
    """A computation: ``inner`` while under way, with the deadline of whoever it was begun for. ``asking``: who waits, where."""

    mark: int
    asking: dict[_Asking[Result], Future[Result]] = field(default_factory=dict)
    inner: Future[Result] | None = None
    deadline: float = 0.0


class Once(Generic[Key, Result]):
    """Computes what is asked for under a key, once for all who ask while it is under way, or as long as it is ``known``.

    ``known``: what there is under a key; it may check the mark. ``keep``: what takes a result. Both are called with ``lock``
    held, and a key is under way until its result was kept. Failures are not kept. A computation that was too late for
    whoever began it is begun again for one who has more time; it is given up when everybody who waited has cancelled.
    """

    def __init__(
        self,
        lock: AbstractContextManager[Any],
        known: Callable[[Key, int], Result | None] | None = None,
        keep: Callable[[Key, Result, int], None] | None = None,
    ) -> None:
        self._lock = lock
        self._known = known
        self._keep = keep
        self._flights: dict[Key, _Flight[Result]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def ask(
        self, key: Key, mark: int, deadline: float, begin: Callable[[], Future[Result]]
    ) -> Future[Result]:
        """A future of one's own. ``mark``: of what is asked; DataError if that differs from what is under way as ``key``.

        ``begin`` is called without the lock, perhaps later and on another thread; what it raises, the future raises.
        """
        asking, future = _Asking(deadline, begin), Future[Result]()
        with self._lock:
            found = None if self._known is None else self._known(key, mark)
            if found is not None:
                return ready(found)
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = _Flight(mark, {asking: future})
                joined = False
            else:
                check_mark(mark, flight.mark)
                flight.asking[asking] = future
                joined = True
        future.add_done_callback(partial(self._left, key, flight, asking))
        if not joined:
            self._begin(key, flight, asking)
        return future

    def _begin(self, key: Key, flight: _Flight[Result], asking: _Asking[Result]) -> None:
        flight.deadline = asking.deadline
        inner = begun(asking.begin)
        with self._lock:
            flight.inner = inner
            abandoned = not flight.asking
        if abandoned:
            inner.cancel()
        inner.add_done_callback(lambda done: self._done(key, flight, done))

    def _done(self, key: Key, flight: _Flight[Result], inner: Future[Result]) -> None:
        error = _why(inner)
        with self._lock:
            told, again, flight.inner = flight.asking, None, None
            if error is None:
                if self._keep is not None and self._flights.get(key) is flight:
                    self._keep(key, inner.result(), flight.mark)
            elif isinstance(error, Refusal) and error.why is Why.TOO_LATE:
                later = {each: told[each] for each in told if each.deadline > flight.deadline}
                again = max(later, key=lambda each: each.deadline, default=None)
                told = {each: told[each] for each in told if each not in later}
                flight.asking = later
            if again is None:
                flight.asking = {}
                if self._flights.get(key) is flight:
                    del self._flights[key]
        for future in told.values():
            with contextlib.suppress(InvalidStateError):  # cancelled meanwhile
                if error is None:
                    future.set_result(inner.result())
                else:
                    future.set_exception(error)
        if again is not None:
            self._begin(key, flight, again)

    def _left(
        self, key: Key, flight: _Flight[Result], asking: _Asking[Result], future: Future[Result]
    ) -> None:
        """One who waited is done; if he has cancelled and was the last, so is the computation."""
        if not future.cancelled():
            return
        with self._lock:
            flight.asking.pop(asking, None)
            if flight.asking or self._flights.get(key) is not flight:
                return
            del self._flights[key]  # whoever asks now begins anew
            inner = flight.inner
        if inner is not None:
            inner.cancel()


def check_mark(mark: int, known: int) -> None:
    """DataError unless both are of the same question."""
    if mark != known:
        raise DataError(
            "this request's id was given to another request with other content before; give every request an id of its own, "
            "and repeat one only to ask the very same again"
        )


def _why(inner: Future[Any]) -> BaseException | None:
    """What went wrong with a future that is done, if anything."""
    if inner.cancelled():
        return Refusal(Why.UNAVAILABLE, "the server gave up computing this; ask again", retry_after_s=0.0)
    return inner.exception()
