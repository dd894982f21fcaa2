"""A sparse index of a segment: for about every MiB, an offset, the time so far and the byte. Only ever a hint.

Entries that are damaged or missing cost time, never rows: whoever uses it checks the frame that it points to.
"""

import os
import struct
from bisect import bisect_right
from pathlib import Path
from typing import NamedTuple

import google_crc32c

EVERY = 1 << 20  # bytes of a segment between two entries

_BODY = struct.Struct("<QqQI")
_CRC = struct.Struct("<I")
BYTES = _BODY.size + _CRC.size  # of an entry


class Entry(NamedTuple):
    """A frame of rows: the offset of its first, the largest time up to and with it, its byte in the segment."""

    first: int
    latest_ms: int
    at: int
    origin: int


def pack(entry: Entry) -> bytes:
    """An entry as 32 bytes with a checksum."""
    body = _BODY.pack(*entry)
    return body + _CRC.pack(google_crc32c.value(body))


def read(path: Path, origin: int) -> list[Entry]:
    """The good entries of the index ``path``, rising; none if there is no such file."""
    try:
        return _good(path.read_bytes(), origin)
    except FileNotFoundError:
        return []


def cut(fd: int, origin: int, before: int) -> tuple[int, int]:
    """Keep the entries of bytes below ``before``; return the last one's byte (-1: none is left) and the index's size."""
    entries = [entry for entry in _good(os.pread(fd, os.fstat(fd).st_size, 0), origin) if entry.at < before]
    raw = b"".join(map(pack, entries))
    os.ftruncate(fd, 0)
    os.pwrite(fd, raw, 0)
    return (entries[-1].at if entries else -1), len(raw)


def _good(raw: bytes, origin: int) -> list[Entry]:
    entries: list[Entry] = []
    for at in range(0, len(raw) - BYTES + 1, BYTES):
        body = raw[at : at + _BODY.size]
        entry = Entry(*_BODY.unpack(body))
        whole = google_crc32c.value(body) == _CRC.unpack_from(raw, at + _BODY.size)[0]
        if whole and entry.origin == origin and (not entries or entry.at > entries[-1].at):
            entries.append(entry)
    return entries


def byte_of(entries: list[Entry], offset: int) -> int:
    """A byte at or before the frame with ``offset``."""
    at = bisect_right(entries, offset, key=lambda entry: entry.first)
    return entries[at - 1].at if at else 0


def byte_at(entries: list[Entry], time_ms: int) -> int:
    """A byte at or before the first frame whose largest time so far is ``time_ms`` or later."""
    before = [entry.at for entry in entries if entry.latest_ms < time_ms]
    return before[-1] if before else 0
