"""A frame: one append, or a schema that appends refer to, behind a header of 64 bytes with checksums (crc32c).

Rows are one Arrow IPC message. Knows nothing of files, partitions or who reads.
"""

import struct
from typing import NamedTuple

import google_crc32c
import pyarrow as pa

from larix.errors import ConfigError

HEADER = 64  # bytes; frames begin at multiples of it, so that a lost one can be looked for
SCHEMA, ROWS = 1, 2
MAX_BYTES = 1 << 30  # of one frame

_MAGIC = b"LXF1"
_BODY = struct.Struct("<4sB3xIIQIIqqQI")
_CRC = struct.Struct("<I")


class Header(NamedTuple):
    """What stands before a payload; see `pack` for the layout."""

    kind: int  # SCHEMA or ROWS
    size: int  # bytes of the payload, padding included: a multiple of HEADER
    crc: int  # crc32c of the payload
    first: int  # offset of the first row; of a schema, of the row that comes next
    rows: int
    term: int  # of the writer's lease
    time_ms: int  # when appended, as the clock said
    latest_ms: int  # the largest time_ms in the partition so far, this frame's included
    schema_at: int  # byte of the segment where the schema's frame begins
    origin: int  # says which segment of which partition of which log: see Place.origin


def pack(header: Header) -> bytes:
    """The 64 bytes: magic, the fields little-endian in order, crc32c of those 60 bytes."""
    body = _BODY.pack(_MAGIC, *header)
    return body + _CRC.pack(google_crc32c.value(body))


def unpack(raw: bytes) -> Header | None:
    """The header that `pack` made; None if these 64 bytes are not one."""
    if len(raw) != HEADER or raw[:4] != _MAGIC:
        return None
    if google_crc32c.value(raw[: _BODY.size]) != _CRC.unpack_from(raw, _BODY.size)[0]:
        return None
    return Header(*_BODY.unpack_from(raw)[1:])


def find(raw: bytes, start: int) -> int:
    """The first multiple of 64 from ``start`` where a header may begin; -1 if there is none."""
    at = raw.find(_MAGIC, start)
    while at >= 0 and at % HEADER:
        at = raw.find(_MAGIC, at + 1)
    return at


class Payload(NamedTuple):
    """What a frame holds: its pieces, their bytes and their checksum."""

    pieces: tuple[pa.Buffer | bytes, ...]
    size: int
    crc: int


def payload(content: pa.Buffer) -> Payload:
    """``content`` padded to a multiple of 64 bytes.

    Raises:
        ConfigError: it is too large for one frame.
    """
    if content.size > MAX_BYTES:
        raise ConfigError(
            f"an append of {content.size:,} bytes is too large: the most is {MAX_BYTES:,}; append fewer rows"
        )
    padding = bytes(-content.size % HEADER)
    crc = google_crc32c.extend(google_crc32c.value(content), padding)
    return Payload((content, padding), content.size + len(padding), crc)


def checked(header: Header, content: pa.Buffer) -> bool:
    """Whether ``content`` is the payload that ``header`` speaks of."""
    return bool(google_crc32c.value(content) == header.crc)


def plain(events: pa.RecordBatch) -> pa.RecordBatch:
    """``events`` with dictionaries written out: a frame has a schema and buffers, and no dictionaries.

    Raises:
        ConfigError: one is inside a type that cannot be written out.
    """
    types = [_plain(kind) for kind in events.schema.types]
    if types == events.schema.types:
        return events
    fields = [field.with_type(kind) for field, kind in zip(events.schema, types, strict=True)]
    return events.cast(pa.schema(fields, events.schema.metadata))


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if isinstance(kind, pa.BaseExtensionType):
        inside = [kind.storage_type]
    else:
        inside = [kind.field(number).type for number in range(kind.num_fields)]
    for each in inside:
        if _plain(each) != each:
            raise ConfigError(
                f"a column of type {kind} has dictionaries inside; cast them to their values first"
            )
    return kind
