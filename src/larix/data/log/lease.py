"""A right that one process at a time has. Whether its owner lives is told by the kernel, never by a clock.

The lock goes with the process that held it, however it ends, so there is no time to wait and none to overrun.
"""

import fcntl
import json
import os
import socket
import weakref
from pathlib import Path
from typing import Self

from larix.errors import LarixError, StorageError


class LeaseError(LarixError):
    """Another has the lease."""


class Lease:
    """Hold the lease of ``path``, a file on a local disk that others who want it name too.

    ``owner`` names this process, ``term`` counts the owners so far. A child that a fork makes does not have it.

    Raises:
        LeaseError: another has it; who, is said.
        StorageError: the file cannot be written.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.owner = f"process {os.getpid()} on {socket.gethostname()}"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StorageError(f"'{path}' cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner, _ = _read(self._fd)
            os.close(self._fd)
            raise LeaseError(
                f"{what} is {owner}'s: only one process at a time may have it; stop that one first"
            ) from error
        self._close = close = weakref.finalize(self, os.close, self._fd)
        # A child that outlives its parent would keep the lock, for its descriptor is the parent's.
        os.register_at_fork(after_in_child=close)
        self.term = _read(self._fd)[1] + 1
        self._pid = os.getpid()
        raw = json.dumps({"owner": self.owner, "term": self.term}).ljust(200).encode()
        try:
            os.pwrite(self._fd, raw, 0)
        except OSError as error:
            self._close()
            raise StorageError(f"'{path}' cannot be written: {error.strerror}; free some space") from error

    @property
    def held(self) -> bool:
        """Whether this process has it: not after `close`, and not in a child of the one that took it."""
        return self._close.alive and os.getpid() == self._pid

    def close(self) -> None:
        """Let others have it."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(fd: int) -> tuple[str, int]:
    """The owner and the term that the file names."""
    try:
        said = json.loads(os.pread(fd, 4096, 0))
        return str(said["owner"]), int(said["term"])
    except (ValueError, KeyError, TypeError):
        return "another process", 0
