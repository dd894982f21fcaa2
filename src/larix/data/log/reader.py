"""A partition read from an offset on, from segment to segment. Knows nothing of columns or of who asks.

Reads what the head says is whole, never what a writer is writing.
"""

from larix.data.log.events import Events
from larix.data.log.frame import ROWS
from larix.data.log.head import Head
from larix.data.log.place import Place
from larix.data.log.segment import BadFrameError, Segment, after
from larix.errors import StorageError


class Reader:
    """Stands before the row ``next`` of a partition. ``lost`` counts the rows passed over, if ``skip_lost``."""

    def __init__(self, place: Place, next_: int, *, skip_lost: bool = False) -> None:
        self._place = place
        self._skip = skip_lost
        self._head = Head(place.head)
        self._segment: Segment | None = None
        self._at = 0
        self._sure = 0  # rows before it were whole when the segment's window was read
        self.next = next_
        self.lost = 0

    @property
    def end(self) -> int:
        """The offset after the last row."""
        return self._head.visible

    def seek(self, offset: int) -> None:
        """Go on from ``offset``."""
        self._leave()
        self.next = offset

    def read(self, max_rows: int) -> list[Events]:
        """Appends up to the end; none is added once there are ``max_rows`` rows.

        Raises:
            StorageError: the next rows are damaged or gone. What comes before them is returned first.
        """
        found: list[Events] = []
        rows = 0
        end = self._head.visible
        while self.next < end and rows < max_rows:
            if self.next >= self._sure:
                if self._segment is not None:
                    self._segment.forget()
                self._sure = end
            try:
                events = self._step(end)
            except StorageError:
                if found:
                    break
                raise
            if events is not None:
                found.append(events)
                rows += len(events.rows)
        return found

    def assure(self) -> None:
        """Wait until the rows before `next` are on the disk, as their writer does; it may have died."""
        durable = self._head.durable
        if self._segment is not None and (durable is None or durable < self.next):
            self._segment.sync()

    def close(self) -> None:
        """Let go of the files."""
        self._leave()
        self._head.close()

    def _leave(self) -> None:
        if self._segment is not None:
            self._segment.close()
        self._segment = None
        self._sure = 0

    def _step(self, end: int) -> Events | None:
        """One frame on; its rows from `next` on, if it has some."""
        segment = self._segment or self._enter(end)
        if segment is None:
            return None
        header = segment.header(self._at)
        if header is None:
            self._pass_over(segment, end)
            return None
        if header.kind != ROWS or header.first + header.rows <= self.next:
            self._at = after(self._at, header)
            return None
        if header.first > self.next:
            self._lose(min(header.first, end), f"'{segment.path}' is damaged before byte {self._at}")
            return None
        try:
            rows = segment.rows(self._at, header)
        except BadFrameError as bad:
            self._lose(header.first + header.rows, f"'{segment.path}' is damaged at byte {bad.at}")
            self._at = after(self._at, header)
            return None
        skip, offset = self.next - header.first, self.next
        self._at = after(self._at, header)
        self.next = header.first + header.rows
        return Events(
            topic=self._place.topic,
            partition=self._place.partition,
            offset=offset,
            time_ms=header.time_ms,
            rows=rows.slice(skip) if skip else rows,
        )

    def _enter(self, end: int) -> Segment | None:
        """Open the segment of `next` and find it there."""
        first = self._place.segment_of(self.next)
        if first is None:
            there = self._place.segments()
            self._lose(
                min(there[0], end) if there else end,
                f"{self._place} begins at {there[0] if there else end}: older events are gone, as its retention asks",
            )
            return None
        try:
            self._segment = Segment(self._place, first)
        except StorageError:
            if first in self._place.segments():
                raise
            return None  # retention was faster
        self._at = self._segment.seek(self.next)
        return self._segment

    def _pass_over(self, segment: Segment, end: int) -> None:
        """The segment ends here, or is damaged."""
        if self._at < segment.size:
            found = segment.next_good(self._at)
            header = segment.header(found) if found is not None else None
            if found is not None and header is not None:
                if header.first > self.next:
                    self._lose(min(header.first, end), f"'{segment.path}' is damaged at byte {self._at}")
                self._at = found
                return
        following = next((first for first in self._place.segments() if first > segment.first), None)
        until = end if following is None else min(following, end)
        if until > self.next:
            self._lose(until, self._why_ended(segment, following))
        if following is not None and following <= self.next:
            self._leave()

    def _why_ended(self, segment: Segment, following: int | None) -> str:
        if self._at < segment.size:
            return f"'{segment.path}' is damaged at byte {self._at}"
        if following is not None and not segment.path.exists():
            return f"{self._place} begins at {following}: older events are gone, as its retention asks"
        return f"'{segment.path}' ends at byte {self._at}, before its last row"

    def _lose(self, until: int, why: str) -> None:
        """Pass over the rows before ``until``, or refuse to."""
        if not self._skip:
            raise StorageError(
                f"{why}; rows {self.next} to {until - 1} of {self._place} cannot be read: restore the file, seek past "
                "them, or read with skip_lost=True, which counts them"
            )
        self.lost += until - self.next
        self.next = until
