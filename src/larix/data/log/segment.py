"""A segment file read frame by frame, from any offset or time, and past damage. Knows nothing of other segments."""

import os
from collections.abc import Callable
from typing import Self

import pyarrow as pa

from larix.data.log import frame, index
from larix.data.log.frame import HEADER, ROWS, SCHEMA, Header
from larix.data.log.place import Place
from larix.errors import StorageError

_WINDOW = 1 << 20  # bytes read at once: small enough to stay in the cache until they are decoded


class BadFrameError(Exception):
    """The frame at byte ``at`` of a segment is not what was written there."""

    def __init__(self, at: int) -> None:
        super().__init__(f"bad frame at byte {at}")
        self.at = at


class Segment:
    """One open segment, for reading. ``at`` is always a byte of the file where a frame may begin."""

    def __init__(self, place: Place, first: int) -> None:
        self.first = first
        self.path = place.segment(first)
        self._index = place.index(first)
        self._origin = place.origin(first)
        self._fd = _opened(self.path)
        self._window = pa.py_buffer(b"")
        self._window_at = 0
        self._schemas: dict[int, pa.Schema] = {}

    @property
    def size(self) -> int:
        """Bytes of the file, now."""
        return os.fstat(self._fd).st_size

    def forget(self) -> None:
        """Read again what was read ahead: a writer may have been writing it at that time."""
        self._window = pa.py_buffer(b"")

    def header(self, at: int) -> Header | None:
        """The header at byte ``at``; None if there is no good one."""
        raw = self._read(at, HEADER)
        found = frame.unpack(raw.to_pybytes()) if raw is not None else None
        return found if found is not None and found.origin == self._origin else None

    def rows(self, at: int, header: Header) -> pa.RecordBatch:
        """The rows of the frame at ``at``, whose header is ``header``.

        Raises:
            BadFrameError: they, or their schema, are damaged.
        """
        content = self._content(at, header)
        schema = self._schemas.get(header.schema_at)
        if schema is None:
            schema = self._schemas[header.schema_at] = self._schema(header.schema_at)
        try:
            return pa.ipc.read_record_batch(content, schema)
        except (pa.ArrowException, OSError) as error:
            raise BadFrameError(at) from error

    def whole(self, at: int, header: Header) -> bool:
        """Whether the payload of the frame at ``at`` is what its header says."""
        try:
            self._content(at, header)
        except BadFrameError:
            return False
        return True

    def seek(self, offset: int) -> int:
        """The byte of the frame with ``offset``, or of the next one if that is damaged; else where frames end."""
        at = index.byte_of(index.read(self._index, self._origin), offset)
        # A schema's frame that comes next is not passed: a writer may be about to take it back.
        return self._hop(at, lambda header: header.first >= offset or header.first + header.rows > offset)

    def seek_time(self, time_ms: int) -> tuple[int, Header | None]:
        """The first frame of rows whose largest time so far is ``time_ms`` or later."""
        at = index.byte_at(index.read(self._index, self._origin), time_ms)
        at = self._hop(at, lambda header: header.kind == ROWS and header.latest_ms >= time_ms)
        return at, self.header(at)

    def next_good(self, at: int) -> int | None:
        """The byte of the next good header after ``at``."""
        start = at + HEADER
        while start < self.size:
            raw = os.pread(self._fd, _WINDOW, start)
            found = frame.find(raw, 0)
            while found >= 0:
                header = frame.unpack(raw[found : found + HEADER])
                if header is not None and header.origin == self._origin:
                    return start + found
                found = frame.find(raw, found + 1)
            start += _WINDOW
        return None

    def sync(self) -> None:
        """Wait until what is in the file is on the disk."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hop(self, at: int, there: Callable[[Header], bool]) -> int:
        """From header to header until ``there``, over damaged ones, reading no payload."""
        if at and self.header(at) is None:
            at = 0  # the index is wrong
        while True:
            header = self.header(at)
            if header is None:
                found = self.next_good(at)
                if found is None:
                    return at
                at = found
            elif there(header):
                return at
            else:
                at = after(at, header)

    def _schema(self, at: int) -> pa.Schema:
        header = self.header(at)
        if header is None or header.kind != SCHEMA:
            raise BadFrameError(at)
        try:
            return pa.ipc.read_schema(self._content(at, header))
        except (pa.ArrowException, OSError) as error:
            raise BadFrameError(at) from error

    def _content(self, at: int, header: Header) -> pa.Buffer:
        content = self._read(at + HEADER, header.size)
        if content is None or not frame.checked(header, content):
            raise BadFrameError(at)
        return content

    def _read(self, at: int, size: int) -> pa.Buffer | None:
        start = at - self._window_at
        if start < 0 or start + size > self._window.size:
            there = self.size - at
            if there < size:
                return None
            buffer = pa.allocate_buffer(max(size, min(_WINDOW, there)))
            got = os.preadv(self._fd, [memoryview(buffer)], at)
            self._window, self._window_at, start = buffer.slice(0, got), at, 0
            if got < size:
                return None
        return self._window.slice(start, size)


def after(at: int, header: Header) -> int:
    """The byte after the frame at ``at``."""
    return at + HEADER + header.size


def _opened(path: os.PathLike[str]) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"'{path}' cannot be read: {error.strerror}") from error
