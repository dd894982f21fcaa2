"""What a writer finds at its partition's end, and what it cuts off: an append that a crash left half. Writes no rows."""

import os
from typing import NamedTuple

from larix.data.log import index
from larix.data.log.frame import ROWS
from larix.data.log.head import Head
from larix.data.log.place import Place
from larix.data.log.segment import Segment, after


class End(NamedTuple):
    """Where to go on: at byte ``at`` of ``segment``, with row ``next``. A ``segment`` of None: in a new one."""

    segment: int | None
    at: int
    next: int
    latest_ms: int
    cut: int  # bytes that were cut off


def recover(place: Place, head: Head) -> End:
    """Find the end of the whole appends; cut what comes after it, and make the rest durable.

    An append that its writer was told to be durable is never cut: where the last segment is damaged before such
    rows' end, it stays as it is for readers to name, and rows go on in a new one.
    """
    there = place.segments()
    durable = head.durable
    if not there:
        return End(None, 0, durable or 0, _latest(place, there), 0)
    last = there[-1]
    with Segment(place, last) as segment:
        known = last if durable is None else max(durable, last)
        entries = index.read(place.index(last), place.origin(last))
        # Rows known to be durable need no look, but all are checked if a writer died while it said how far they go.
        at = index.byte_of(entries, known - 1)
        header = segment.header(at)
        if header is None or header.first >= known:
            at = 0
        latest, next_ = _latest(place, there[:-1]), last
        while (header := segment.header(at)) is not None:
            if header.first + header.rows > known and not segment.whole(at, header):
                break
            if header.kind == ROWS:
                latest, next_ = header.latest_ms, header.first + header.rows
            at = after(at, header)
        size = segment.size
        if next_ < known or (durable is None and at < size):
            end = _damaged(segment, at, max(next_, known), latest)
            if end.next > next_:
                return end
    cut = size - at
    _make_durable(place, last, at)
    return End(last, at, next_, latest, cut)


def _damaged(segment: Segment, at: int, next_: int, latest_ms: int) -> End:
    """Rows go on in a new segment, after all that this one has or had."""
    while (found := segment.next_good(at)) is not None:
        header = segment.header(found)
        assert header is not None
        next_ = max(next_, header.first + header.rows)
        latest_ms = max(latest_ms, header.latest_ms)
        at = found
    segment.sync()
    return End(None, 0, next_, latest_ms, 0)


def _latest(place: Place, segments: list[int]) -> int:
    """The largest time of these segments."""
    for first in reversed(segments):
        with Segment(place, first) as segment:
            entries = index.read(place.index(first), place.origin(first))
            at, latest = (entries[-1].at, entries[-1].latest_ms) if entries else (0, None)
            while (header := segment.header(at)) is not None:
                latest, at = header.latest_ms, after(at, header)
        if latest is not None:
            return latest
    return 0


def _make_durable(place: Place, first: int, at: int) -> None:
    """Cut the segment at byte ``at`` and sync it: what was only written may now be read and acknowledged."""
    fd = os.open(place.segment(first), os.O_RDWR | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, at)
        os.fdatasync(fd)
    finally:
        os.close(fd)
