"""An iterator run ahead of its consumer on a thread of its own. Knows nothing of what the items are."""

import threading
import weakref
from collections import deque
from collections.abc import Generator, Iterator
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Iterate over ``items`` while a thread works out up to ``size`` of them in advance, in the same order.

    What ``items`` raises is raised here, after the items before it. The thread ends when the items do, at
    `close`, or when this iterator is no longer used; ``items`` is closed with it.
    """

    def __init__(self, items: Generator[T, None, None], size: int) -> None:
        self._shelf = shelf = _Shelf[T](size)
        # The thread knows the shelf only: an iterator that nobody holds any more is collected, and ends it.
        self._thread = threading.Thread(target=_fill, args=(shelf, items), name="larix-ahead", daemon=True)
        self._finalizer = weakref.finalize(self, shelf.close)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return self._shelf.take()

    def close(self) -> None:
        """Drop what is waiting and end the thread; iterating further ends at once."""
        self._finalizer()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Shelf(Generic[T]):
    """At most ``size`` items between one thread that puts and one that takes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[T] = deque()
        self._changed = threading.Condition()  # re-entrant: a finalizer may run in a thread that holds it
        self._error: BaseException | None = None
        self._closed = False  # nobody takes any more
        self._ended = False  # nothing is put any more

    def put(self, item: T) -> bool:
        """Wait for room and put ``item`` there; False if nobody will take it."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._size)
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def end(self, error: BaseException | None) -> None:
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ended or bool(self._items))
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._items.clear()
            self._error = None
            self._changed.notify_all()


def _fill(shelf: _Shelf[T], items: Generator[T, None, None]) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not shelf.put(item):
                break
            del item  # do not hold a batch while the next one is worked out
    except BaseException as caught:
        error = caught
    finally:
        items.close()
        shelf.end(error)
