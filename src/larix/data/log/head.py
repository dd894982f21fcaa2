"""How far a partition goes, in memory that processes share. Knows nothing of segments.

Readers poll it: a look costs no system call.
"""

import mmap
import os
from pathlib import Path
from typing import Self

from larix.errors import StorageError

_BYTES = 4096
_CHECK = 0x6C61_7269_785F_6C67
_VISIBLE, _DURABLE, _SUM = range(3)


class Head:
    """The file ``head``: the offsets up to which rows are whole (visible) and synced (durable).

    Each is one aligned word of 8 bytes, which x86-64 and arm64 store and load undivided. A third word checks the second:
    whoever is killed between the two leaves a head that says it does not know, never a wrong one.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        try:
            with path.open("r+b" if write else "rb") as file:
                access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
                self._map = mmap.mmap(file.fileno(), _BYTES, access=access)
        except (OSError, ValueError) as error:
            raise StorageError(f"'{path}' cannot be read: {error}; is the log whole?") from error
        self._words = memoryview(self._map).cast("Q")

    @staticmethod
    def create(path: Path) -> None:
        """Write the head of an empty partition, unless there is one."""
        words = memoryview(bytearray(_BYTES)).cast("Q")
        words[_SUM] = _CHECK
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(words)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            fresh.unlink()
        else:
            fresh.rename(path)

    @property
    def visible(self) -> int:
        """Rows before this offset are written whole; a power cut may still take those after `durable`."""
        return self._words[_VISIBLE]

    @property
    def durable(self) -> int | None:
        """Rows before this offset are synced; None: a writer died while it said how far."""
        durable = self._words[_DURABLE]
        return durable if self._words[_SUM] == durable ^ _CHECK else None

    def show(self, offset: int) -> None:
        """Let readers read up to ``offset``."""
        self._words[_VISIBLE] = offset

    def assure(self, offset: int) -> None:
        """Say that rows before ``offset`` are synced."""
        self._words[_DURABLE] = offset
        self._words[_SUM] = offset ^ _CHECK

    def close(self) -> None:
        """Let go of the file."""
        self._words.release()
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
