"""Where a partition's files lie and what they are called. Knows nothing of what is in them."""

import os
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import google_crc32c


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A partition's folder: segments named by the offset of their first row, an index beside each, and the head."""

    folder: Path
    log: str
    topic: str
    partition: int

    def __str__(self) -> str:
        return f"partition {self.partition} of topic '{self.topic}'"

    def segments(self) -> list[int]:
        """The first offsets of the segments that are there, rising."""
        return sorted(int(path.stem) for path in self.folder.glob("*.segment"))

    def segment_of(self, offset: int) -> int | None:
        """The segment that ``offset`` lies in or would come after; None if all that are left begin later."""
        there = self.segments()
        at = bisect_right(there, offset)
        return there[at - 1] if at else None

    def segment(self, first: int) -> Path:
        """The file of rows from ``first`` on."""
        return self.folder / f"{first:020}.segment"

    def index(self, first: int) -> Path:
        """The file that says where in a segment some of its offsets are."""
        return self.folder / f"{first:020}.index"

    @property
    def head(self) -> Path:
        """The file that says how far the partition goes."""
        return self.folder / "head"

    @property
    def lease(self) -> Path:
        """The file that the one writer locks."""
        return self.folder / "lease"

    def origin(self, first: int) -> int:
        """What every frame of a segment carries, so that one from elsewhere is never taken for its own."""
        return int(google_crc32c.value(f"{self.log}/{self.topic}/{self.partition}/{first}".encode()))


def sync_folder(folder: Path) -> None:
    """Make durable which names are in a folder."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
