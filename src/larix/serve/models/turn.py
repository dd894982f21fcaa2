"""A turn that processes of one server take: while one loads or compiles, the others answer. Knows nothing of either."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from larix.errors import StorageError


class Turn:
    """One process at a time is within, and one of its threads, which may enter again. ``path``: a file that all of them name.

    It goes with the process that has it, however that ends. StorageError if the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"'{path}' cannot be written: {error.strerror}") from error
        self._mine, self._depth = threading.RLock(), 0

    def __enter__(self) -> Self:
        self._mine.acquire()
        if not self._depth:
            self._lock(fcntl.LOCK_EX)
        self._depth += 1
        return self

    @contextmanager
    def if_free(self) -> Iterator[bool]:
        """Whether one is within: only if nobody else is. So whoever may come again lets those go first who wait."""
        free = self._mine.acquire(blocking=False)
        if free and not self._depth:
            try:
                self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                free = False
        self._depth += int(free)
        try:
            yield free
        finally:
            if free:
                self.__exit__()

    def _lock(self, how: int) -> None:
        """Of this process's own lock, which is had, nothing is left if the other cannot be had."""
        try:
            fcntl.flock(self._file, how)
        except BaseException:
            self._mine.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._mine.release()
