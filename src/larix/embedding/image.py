"""Rows that the processes of one server hold once: an image of a replica's, made by one of them and mapped by the others.

Knows where they find it and whether it is what they look for; knows nothing of bundles, nor of what follows.
"""

import fcntl
import hashlib
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from larix.embedding.replica import BUILD, Replica
from larix.embedding.snapshot import Instant, Snapshot
from larix.errors import StorageError

_MEMORY = "/memfd:"


class Images:
    """``folder``: one that the processes of one server have, and nobody else.

    An image is memory without a name: it goes with the last process that has it, however they end, and takes no disk. Each of
    them leaves a link to it in ``folder``, to its own open file, which leads nowhere once that process has ended.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fill(
        self, replica: Replica, snapshot: Snapshot, key: str, between: Callable[[], object] = lambda: None
    ) -> str:
        """Have a new replica without levels show ``snapshot``; what kept it from sharing its rows as it might, "" if nothing did.

        They are those of an image that was left under ``key``, which says whose rows these are, or else they are loaded and left
        for others, by one process at a time. ``between``: as with ``Replica.freeze``. Errors as with ``Replica.replace``.
        """
        stamp = hashlib.sha256(f"{BUILD} {key}".encode()).digest()
        try:
            turn = os.open(self._folder / "rows", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            replica.replace(snapshot)
            return f"'{self._folder}' cannot be written: {error.strerror}"
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)  # until it is closed, by whatever
            troubles = self._take(replica, snapshot.instant, stamp)
            if replica.image < 0:
                replica.replace(snapshot)
            try:
                if replica.image < 0:
                    replica.freeze(stamp, between)
                self._leave(replica, stamp)
            except StorageError as error:
                troubles.append(str(error))
            return "; ".join(troubles)
        finally:
            os.close(turn)

    def _take(self, replica: Replica, instant: Instant, stamp: bytes) -> list[str]:
        """Have the rows of another process, if one has left any; why not those that were refused, which nobody looks at again."""
        troubles = []
        for link in sorted(self._folder.glob(f"{_name(stamp)}-*")):
            try:
                with _opened(link) as image:
                    if image is not None:
                        replica.adopt(image, stamp, instant)
                        break
            except StorageError as error:
                troubles.append(f"'{link}': {error}")
            link.unlink(missing_ok=True)
        return troubles

    def _leave(self, replica: Replica, stamp: bytes) -> None:
        own = os.getpid(), replica.image
        link = self._folder / "-".join(map(str, (_name(stamp), *own)))
        try:
            link.unlink(missing_ok=True)  # of a process that had our number
            link.symlink_to("/proc/{}/fd/{}".format(*own))
        except OSError as error:
            raise StorageError(f"'{link}' cannot be made: {error.strerror}") from error
        weakref.finalize(replica, link.unlink, missing_ok=True)


def _name(stamp: bytes) -> str:
    return f"rows-{stamp.hex()[:32]}"


@contextmanager
def _opened(link: Path) -> Iterator[int | None]:
    """The memory that a link leads to; None if its process has ended or has let go of it. StorageError if it is not to be had."""
    try:
        process = os.readlink(link)
        memory = os.readlink(process).startswith(
            _MEMORY
        )  # another may have that number now, and a pipe there
        descriptor = os.open(process, os.O_RDONLY | os.O_CLOEXEC) if memory else None
    except (FileNotFoundError, ProcessLookupError):
        descriptor = None
    except OSError as error:
        raise StorageError(f"it cannot be followed: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)
