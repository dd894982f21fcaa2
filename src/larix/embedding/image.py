"""Rows that the processes of one server hold once: an image of a replica's, made by one of them and mapped by the others.

Knows where they find it and whether it is what they look for; knows nothing of bundles, nor of whose turn it is to load.
"""

import hashlib
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from larix.embedding.replica import BUILD, Replica
from larix.embedding.snapshot import Snapshot
from larix.errors import StorageError

_MEMORY = "/memfd:"


class Images:
    """``folder``: one that the processes of one server have, and nobody else.

    An image is memory without a name: it goes with the last process that has it, however they end, and takes no disk. Each of
    them leaves a link to it in ``folder``, to its own open file, which leads nowhere once that process has ended.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def filled(
        self, key: str, empty: Callable[[], Replica], snapshot: Callable[[], Snapshot]
    ) -> tuple[Replica, str]:
        """A replica that shows ``snapshot``, and what kept it from sharing its rows as it might, "" if nothing did.

        They are those of an image that was left under ``key``, which says whose rows these are, or are loaded and left for
        others; one process at a time should be at it, lest several load. ``empty``: makes a replica without levels. Errors as
        with ``Replica.replace``.
        """
        stamp = hashlib.sha256(f"{BUILD} {key}".encode()).digest()
        replica, fresh, troubles = empty(), snapshot(), []
        for link in sorted(self._folder.glob(f"{_name(stamp)}-*")):
            try:
                with _opened(link) as image:
                    if image is not None:
                        replica.adopt(image, stamp, fresh.instant)
                        return replica, self._left(replica, stamp)
            except StorageError as error:
                troubles.append(str(error))
            link.unlink(missing_ok=True)
        replica.replace(fresh)
        try:
            replica.freeze(stamp)
        except StorageError as error:
            troubles.append(str(error))
            replica = empty()
            replica.replace(snapshot())
            return replica, "; ".join(troubles)
        return replica, "; ".join(filter(None, (*troubles, self._left(replica, stamp))))

    def _left(self, replica: Replica, stamp: bytes) -> str:
        """Leave a link for others; why that failed, "" if it did not."""
        own = os.getpid(), replica.image
        link = self._folder / "-".join(map(str, (_name(stamp), *own)))
        try:
            link.unlink(missing_ok=True)  # of a process that had our number and did not end by itself
            link.symlink_to("/proc/{}/fd/{}".format(*own))
        except OSError as error:
            return f"'{link}' cannot be made: {error.strerror}"
        weakref.finalize(replica, link.unlink, missing_ok=True)
        return ""


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
        raise StorageError(f"'{link}' cannot be followed: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)
