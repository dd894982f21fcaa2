"""The one writer of a partition: frames into segments, synced for all who wait at once, and cut back where that failed.

Holds the partition's lease. Knows nothing of topics, other partitions or who reads.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from larix.data.log import frame, index
from larix.data.log.frame import HEADER, ROWS, SCHEMA, Header, Payload
from larix.data.log.head import Head
from larix.data.log.lease import Lease
from larix.data.log.place import Place, sync_folder
from larix.data.log.recovery import recover
from larix.errors import StorageError


class Ticket(NamedTuple):
    """An append that is written and not yet durable; ``era`` counts the failures to sync before it."""

    first: int
    end: int
    era: int


class Writer:
    """Threads may share it. ``clock`` gives milliseconds; ``rolled`` is called after each new segment.

    Raises:
        LeaseError: another process appends to this partition.
        StorageError: a file cannot be read or written.
    """

    def __init__(
        self,
        place: Place,
        *,
        segment_bytes: int,
        segment_age_s: float | None,
        clock: Callable[[], int],
        rolled: Callable[[], object],
    ) -> None:
        self._place = place
        self._segment_bytes = segment_bytes
        self._segment_age_s = segment_age_s
        self._clock = clock
        self._rolled = rolled
        self._lease = Lease(place.lease, str(place))
        try:
            self._head = Head(place.head, write=True)
            self._take_up()
        except OSError as error:
            self._lease.close()
            raise StorageError(f"'{place.folder}' cannot be written: {error}") from error
        except BaseException:
            self._lease.close()
            raise
        # Whoever needs both takes _syncing first.
        self._syncing = threading.Lock()  # of who waits for the disk, for itself and all written before
        self._writing = threading.RLock()  # of the file's end

    def append(self, events: pa.RecordBatch) -> int:
        """Write, wait, and return the offset of the first row."""
        ticket = self.put(events)
        self.wait(ticket)
        return ticket.first

    def put(self, events: pa.RecordBatch) -> Ticket:
        """Write rows: readers see them at once, and they are durable after `wait`.

        Raises:
            ConfigError: they are too large.
            StorageError: they could not be written, and are not there; later ones may be.
        """
        self._check_lease()  # before the locks, which another thread may have held when this process was forked
        events = frame.plain(events)
        content = frame.payload(events.serialize())
        with self._writing:
            self._check_lease()
            if self._has_room(content):
                return self._put(events, content)
        with self._syncing, self._writing:
            self._check_lease()
            try:
                if not self._has_room(content):
                    self._roll()
                return self._put(events, content)
            except OSError as error:
                raise self._failure(error) from error

    def wait(self, ticket: Ticket) -> None:
        """Return once the append is durable. One of those who wait at the same time syncs for all.

        Raises:
            StorageError: the disk failed; the append is not there.
        """
        with self._syncing:
            if ticket.era == self._era:
                if ticket.end <= self._durable:
                    return
                self._sync()
            if ticket.era != self._era:
                raise StorageError(
                    f"rows {ticket.first} to {ticket.end - 1} of {self._place} could not be made durable"
                )

    def close(self) -> None:
        """Make durable what is written, and let another process append. A second call does nothing."""
        if not self._lease.held:
            return
        with self._syncing, self._writing:
            try:
                self._sync()
                if self._index is not None:
                    os.fsync(self._index)
            except OSError as error:
                raise self._failure(error) from error
            finally:
                self._close_files()
                self._head.close()
                self._lease.close()

    def _check_lease(self) -> None:
        if not self._lease.held:
            raise StorageError(
                f"{self._place} was opened in another process, or is closed: open the log again in this one"
            )

    def _take_up(self) -> None:
        """Go on where the last writer stopped."""
        end = recover(self._place, self._head)
        self._fd: int | None = None
        self._index: int | None = None
        self._indexed = -1  # byte of the frame that the index's last entry points to
        self._index_size = 0
        self._schemas: dict[bytes, int] = {}
        self._at = self._durable_at = end.at
        self._next = self._durable = end.next
        self._latest_ms = end.latest_ms
        self._began_ms: int | None = None
        self._era = 0
        self._torn = False  # bytes after _at are of a write that failed
        self._broken = end.segment is None  # nothing more may be appended to this segment
        if end.segment is not None:
            self._open(end.segment, os.O_RDWR)
        self._head.show(self._next)
        self._head.assure(self._durable)

    def _has_room(self, content: Payload) -> bool:
        if self._fd is None or self._broken:
            return False
        if self._at == 0:
            return True
        age_s, began_ms = self._segment_age_s, self._began_ms
        if age_s is not None and began_ms is not None and self._clock() - began_ms > age_s * 1000:
            return False
        return self._at + HEADER + content.size <= self._segment_bytes

    def _put(self, events: pa.RecordBatch, content: Payload) -> Ticket:
        rows, now = len(events), self._clock()
        if not rows:
            return Ticket(self._next, self._next, self._era)
        latest = max(self._latest_ms, now)
        pieces: list[bytes | pa.Buffer] = []
        at = self._at
        described = events.schema.serialize().to_pybytes()
        schema_at = self._schemas.get(described)
        if schema_at is None:
            schema_at, schema = at, frame.payload(pa.py_buffer(described))
            pieces += [self._header(SCHEMA, schema, 0, now, latest, at), *schema.pieces]
            at += HEADER + schema.size
        pieces += [self._header(ROWS, content, rows, now, latest, schema_at), *content.pieces]
        self._write(pieces)
        self._note(at, latest)
        ticket = Ticket(self._next, self._next + rows, self._era)
        self._at, self._next, self._latest_ms = at + HEADER + content.size, ticket.end, latest
        self._schemas[described] = schema_at
        self._began_ms = now if self._began_ms is None else self._began_ms
        self._head.show(self._next)
        return ticket

    def _header(self, kind: int, content: Payload, rows: int, now: int, latest: int, schema_at: int) -> bytes:
        header = Header(
            kind=kind,
            size=content.size,
            crc=content.crc,
            first=self._next,
            rows=rows,
            term=self._lease.term,
            time_ms=now,
            latest_ms=latest,
            schema_at=schema_at,
            origin=self._origin,
        )
        return frame.pack(header)

    def _write(self, pieces: list[bytes | pa.Buffer]) -> None:
        """Write at the end, all of it or nothing that counts: what was written of it is cut off again."""
        assert self._fd is not None
        try:
            if self._torn:
                os.ftruncate(self._fd, self._at)
            self._torn = True
            at, left = self._at, [memoryview(piece).cast("B") for piece in pieces if len(piece)]
            while left:
                written = os.pwritev(self._fd, left, at)
                at += written
                while left and written >= len(left[0]):
                    written -= len(left.pop(0))
                if left:
                    left[0] = left[0][written:]
            self._torn = False
        except OSError as error:
            with contextlib.suppress(OSError):  # the next append tries again
                os.ftruncate(self._fd, self._at)
                self._torn = False
            raise self._failure(error) from error

    def _note(self, at: int, latest_ms: int) -> None:
        """Put a frame into the index, if it is time. Without an entry, reading is slower and as right."""
        if self._indexed >= 0 and at - self._indexed < index.EVERY:
            return
        assert self._index is not None
        entry = index.Entry(self._next, latest_ms, at, self._origin)
        with contextlib.suppress(OSError):
            os.pwrite(self._index, index.pack(entry), self._index_size)
            self._indexed, self._index_size = at, self._index_size + index.BYTES

    def _sync(self) -> None:
        """Make durable what is written by now."""
        with self._writing:
            fd, end, at = self._fd, self._next, self._at
        if fd is None:
            return
        try:
            os.fdatasync(fd)
        except OSError as error:
            # What of it is on the disk cannot be known any more: none of it counts, and no offset is used twice.
            with self._writing:
                self._era += 1
                self._broken = True
                self._durable = self._next
                self._head.assure(self._next)
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, self._durable_at)
            raise self._failure(error) from error
        self._durable, self._durable_at = end, at
        self._head.assure(end)

    def _roll(self) -> None:
        """Begin a new segment, once the rows before it are durable. Both locks are held."""
        if not self._broken:
            self._sync()
            if self._index is not None:
                os.fsync(self._index)
        self._close_files()
        self._at = self._durable_at = 0
        self._open(self._next, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self._schemas.clear()
        self._began_ms = None
        self._torn = self._broken = False
        self._rolled()

    def _open(self, segment: int, flags: int) -> None:
        path = self._place.segment(segment)
        fd = os.open(path, flags | os.O_CLOEXEC, 0o666)
        try:
            if flags & os.O_CREAT:
                sync_folder(self._place.folder)
            self._index = os.open(self._place.index(segment), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            os.close(fd)
            if flags & os.O_CREAT:
                path.unlink()
            raise
        self._fd, self._origin = fd, self._place.origin(segment)
        self._indexed, self._index_size = index.cut(self._index, self._origin, self._at)

    def _close_files(self) -> None:
        for fd in (self._fd, self._index):
            if fd is not None:
                os.close(fd)
        self._fd = self._index = None

    def _failure(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self._place} cannot be written: {error.strerror}: what was to be appended is not there; free some space "
            f"below '{self._place.folder}' and append it again"
        )
