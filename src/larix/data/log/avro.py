"""Rows as an Avro Object Container File, and those of any producer back. Needs fastavro, of ``larix[kafka]``, when used.

What a file may grow to in memory is bounded: by its schema, and by what its blocks unpack to.
"""

import bz2
import functools
import io
import json
import lzma
import zlib
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa

from larix.data.log import values
from larix.data.log.avro_schema import Reading, in_ms, raw, reading, solid, wire, written
from larix.data.log.values import MOST
from larix.errors import ConfigError, DataError

_SCHEMA_BYTES = 1 << 20
_MAGIC = b"Obj\x01"
_SYNC = {"type": "fixed", "name": "sync", "size": 16}
_HEAD = {
    "type": "record",
    "name": "head",
    "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": 4}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": _SYNC},
    ],
}
_BLOCK = {
    "type": "record",
    "name": "block",
    "fields": [
        {"name": "rows", "type": "long"},
        {"name": "packed", "type": "bytes"},
        {"name": "sync", "type": _SYNC},
    ],
}


@functools.cache
def library() -> Any:
    """The module fastavro, which reads our decimals and maps. ConfigError if it is not installed."""
    try:
        import fastavro
    except ImportError as error:
        raise ConfigError("Avro needs fastavro; pip install 'larix[kafka]'") from error
    readers = fastavro.read.LOGICAL_READERS
    readers["bytes-larix-decimal"] = readers["fixed-larix-decimal"] = _decimal
    readers["map-larix-pairs"] = _pairs
    return fastavro


def encode(events: pa.RecordBatch) -> bytes:
    """The file: one block, not packed, for the client of Kafka packs. Dictionaries must be written out before.

    Raises:
        ConfigError: Avro has no name, type or value for what a column holds, or there is more than `decode` takes.
    """
    avro = library()
    schema = written(events.schema)
    try:
        how = _reading(json.dumps(schema))
    except DataError as error:
        raise ConfigError(
            f"Avro does not take the columns {events.schema.names}: {error}; use Arrow"
        ) from error
    columns = [
        _numbers(name, column, kind)
        for name, column, kind in zip(events.schema.names, events.columns, how.types, strict=True)
    ]
    rows = [dict(zip(how.names, row, strict=True)) for row in zip(*columns, strict=True)]
    sink = io.BytesIO()
    avro.writer(sink, avro.parse_schema(schema), rows, codec="null", sync_interval=2 * MOST)
    if sink.tell() > MOST // how.density:
        raise ConfigError(
            f"an append of {sink.tell():,} bytes is too large for Avro: the most is {MOST // how.density:,} of such rows; "
            "append fewer, or use Arrow"
        )
    return sink.getvalue()


def _numbers(name: str, column: pa.Array, kind: pa.DataType) -> list[Any]:
    try:
        cast = column.cast(solid(kind))
        return list(cast.cast(raw(cast.type)).to_pylist())
    except (pa.ArrowException, UnicodeError) as error:
        raise ConfigError(f"Avro has no word for a value of column '{name}': {error}; use Arrow") from error


def decode(content: bytes, told: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    """The rows of a file, in the types that its schema tells; where that is several for a column, as its values are.

    ``told``: types of columns that Avro has no word for (int8, float16) and wrote as others; taken where nothing is lost.
    Packed by null, deflate, bzip2, xz, snappy or zstandard.

    Raises:
        DataError: it is no such file, is cut off or damaged, or there is more in it than `MOST`.
    """
    stream = io.BytesIO(content)
    head = _read(stream, _HEAD)
    schema = head["meta"].get("avro.schema", b"")
    if head["magic"] != _MAGIC or len(schema) > _SCHEMA_BYTES:
        raise DataError("no Avro file")
    how = _reading(schema.decode("utf-8", "replace"))
    codec, left = head["meta"].get("avro.codec", b"null"), MOST // how.density
    rows: list[dict[str, Any]] = []
    while stream.tell() < len(content):
        block = _read(stream, _BLOCK)
        if block["sync"] != head["sync"]:
            raise DataError("a damaged Avro file")
        unpacked = _unpacked(block["packed"], codec, left)
        left -= len(unpacked)
        rows += _rows(unpacked, block["rows"], how)
    columns = [[row[name] for row in rows] for name in how.names]
    # Of several kinds of records each row has the fields of all.
    if (
        sum(values.grown(found) for found, kind in zip(columns, how.types, strict=True) if kind is None)
        > MOST
    ):
        raise DataError(f"an Avro file of more than {MOST:,} values")
    return pa.RecordBatch.from_arrays(
        [
            _column(found, kind, told.get(name, kind))
            for name, found, kind in zip(how.names, columns, how.types, strict=True)
        ],
        names=how.names,
    )


@functools.lru_cache(maxsize=16)
def _reading(schema: str) -> Reading:
    how = reading(schema)
    try:
        return how._replace(rows=library().parse_schema(how.rows))
    except ConfigError:
        raise
    except Exception as error:  # of many kinds, and none has a base in common
        raise DataError("no Avro schema") from error


def _read(stream: io.BytesIO, schema: Any) -> Any:
    try:
        return library().schemaless_reader(stream, schema, None)
    except ConfigError:
        raise
    except (
        Exception
    ) as error:  # what bytes that are no Avro lead to: IndexError, EOFError, UnicodeError and more
        raise DataError("no Avro file" if schema is _HEAD else "a damaged Avro file") from error


def _rows(block: bytes, count: int, how: Reading) -> list[dict[str, Any]]:
    """The rows of a block, which are an array but for its count before and the 0 after them."""
    if not 0 <= count <= MOST:
        raise DataError("a damaged Avro file")
    framed = io.BytesIO()
    if count:
        library().schemaless_writer(framed, "long", count)
    framed.write(block + b"\0")
    size = framed.tell()
    framed.seek(0)
    rows: list[dict[str, Any]] = _read(framed, how.rows)
    if len(rows) != count or framed.tell() != size:
        raise DataError("a damaged Avro file")
    return rows


def _column(found: list[Any], kind: pa.DataType | None, told: pa.DataType | None) -> pa.Array:
    if kind is None:
        return values.column(found)
    try:
        if told != kind and _wire(told) == kind and values.typed(found, raw(told)) is not None:
            column = pa.array(found, in_ms(told))
            if column.type != told:
                column = column.cast(told)
                column.validate(full=True)
            return column
    except (pa.ArrowException, TypeError, ValueError):
        pass  # then as the file says
    try:
        return pa.array(found, kind)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return values.column(found)


@functools.lru_cache(maxsize=256)
def _wire(kind: pa.DataType) -> pa.DataType | None:
    try:
        return wire(kind)
    except (ConfigError, DataError):
        return None


def _unpacked(packed: bytes, codec: bytes, most: int) -> bytes:
    try:
        if codec == b"null":
            found, whole = packed, True
        elif codec == b"deflate":
            inflating = zlib.decompressobj(-15)
            found = inflating.decompress(packed, most + 1)
            whole = inflating.eof
        elif codec in (b"bzip2", b"xz"):
            opened: Any = (
                bz2.BZ2Decompressor() if codec == b"bzip2" else lzma.LZMADecompressor(memlimit=1 << 27)
            )
            found = opened.decompress(packed, most + 1)
            whole = opened.eof
        elif codec == b"zstandard":
            with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
                found, whole = stream.read(most + 1), True
        elif codec == b"snappy":
            found, whole = _from_snappy(packed, most)
        else:
            raise DataError(f"Avro packed by '{codec[:20].decode('utf-8', 'replace')}'")
    except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError, pa.ArrowException) as error:
        raise DataError("a damaged Avro file") from error
    if len(found) > most:
        raise DataError(f"an Avro file of more than {MOST:,} values")
    if not whole:
        raise DataError("a damaged Avro file")
    return found


def _from_snappy(packed: bytes, most: int) -> tuple[bytes, bool]:
    size, shift, at = 0, 0, 0  # it begins with its size, seven bits a byte
    while True:
        if at >= min(len(packed), 5):
            raise ValueError("no size")
        size |= (packed[at] & 0x7F) << shift
        shift += 7
        at += 1
        if packed[at - 1] < 0x80:
            break
    if size > most:
        return bytes(most + 1), True
    found = pa.decompress(packed[:-4], decompressed_size=size, codec="snappy", asbytes=True)
    return found, zlib.crc32(found).to_bytes(4, "big") == packed[-4:]


def _decimal(found: bytes, schema: Any, _: Any = None) -> Decimal | bytes:
    if len(found) > 32:  # more than Arrow's widest; and to make decimals of long numbers takes long
        return found
    return Decimal(int.from_bytes(found, "big", signed=True)).scaleb(-schema["scale"], Context(prec=80))


def _pairs(found: dict[str, Any], schema: Any, _: Any = None) -> list[tuple[str, Any]]:
    # As a struct, keys that differ from row to row would be rows times keys.
    return list(found.items())
