"""TFRecord files of tf.train.Example, without TensorFlow: the framing with its checksums, and records as
columns.

Knows nothing of Parquet. Needs the extra ``larix[tfrecord]``.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from larix.data.block import BLOCK_BYTES, Block, opened
from larix.data.example import parser
from larix.errors import ConfigError, DataError

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_MAX_BYTES = 2**31 - 1  # of one message, by protobuf
_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def blocks(path: Path) -> Iterator[Block]:
    """The records of a file (``.gz`` is gunzipped), about 16 MiB of them at a time.

    A feature becomes a column of its values: int64, float32, and string if all are UTF-8, else binary. It
    is a list where any record of the block has more than one value. A feature that a record lacks, or has
    without values, is null.

    Raises:
        DataError: a record is cut off, its checksum is wrong, it is no Example, or a feature changes its
            kind; names the record.
        ConfigError: the extra is not installed.
    """
    crc32c, parse = _checksum(), parser()
    with opened(path) as (source, tell):
        columns: dict[str, _Column] = {}
        first, number, size = 1, 0, 0
        for number, record in enumerate(_records(source, path, crc32c), start=1):
            _add(columns, parse(record, number, path), number, first, path)
            size += len(record)
            if size >= BLOCK_BYTES:
                yield Block(_table(columns, number - first + 1), first, tell())
                columns, first, size = {}, number + 1, 0
        if number >= first:
            yield Block(_table(columns, number - first + 1), first, tell())


@dataclass(slots=True)
class _Column:
    kind: str
    since: int  # the record that told the kind
    values: list[Any] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)


def _records(source: IO[bytes], path: Path, crc32c: Callable[[bytes], int]) -> Iterator[bytes]:
    number = 0
    while header := source.read(_HEADER.size):
        number += 1
        where = f"record {number} of '{path}'"
        if len(header) < _HEADER.size:
            raise DataError(f"{where} is cut off in its header; the file ends early, fetch it again")
        length, checksum = _HEADER.unpack(header)
        if _masked(crc32c(header[:8])) != checksum:
            raise DataError(
                f"{where} has a wrong checksum of its length; the file is damaged or of another kind"
            )
        if length > _MAX_BYTES:
            raise DataError(f"{where} is {length} bytes long; no Example is longer than {_MAX_BYTES}")
        record = source.read(length)
        tail = source.read(_CHECKSUM.size)
        if len(record) < length or len(tail) < _CHECKSUM.size:
            raise DataError(f"{where} is cut off; the file ends early, fetch it again")
        if _masked(crc32c(record)) != _CHECKSUM.unpack(tail)[0]:
            raise DataError(f"{where} has a wrong checksum; the file is damaged, fetch it again")
        yield record


def _masked(crc: int) -> int:
    """Checksums are stored rotated and shifted, so that checksums of data with checksums in it stay good."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _add(
    columns: dict[str, _Column], features: Mapping[str, Any], number: int, first: int, path: Path
) -> None:
    for name, feature in features.items():
        which = feature.WhichOneof("kind")
        values = getattr(feature, which).value if which else ()
        if not len(values):
            continue
        column = columns.get(name)
        if column is None:
            column = columns[name] = _Column(_KINDS[which], number)
        elif column.kind != _KINDS[which]:
            raise DataError(
                f"feature '{name}' is {_KINDS[which]} in record {number} of '{path}' but {column.kind} in "
                f"record {column.since}; a feature must keep its kind"
            )
        column.lengths.extend([0] * (number - first - len(column.lengths)))
        column.lengths.append(len(values))
        column.values.extend(values)


def _table(columns: dict[str, _Column], rows: int) -> pa.Table:
    arrays = {name: _array(columns[name], rows) for name in sorted(columns)}
    if arrays:
        return pa.table(arrays)
    return pa.table({"_": pa.nulls(rows)}).select([])


def _array(column: _Column, rows: int) -> pa.Array:
    lengths = np.zeros(rows, dtype=np.int64)
    lengths[: len(column.lengths)] = column.lengths
    values = _values(column)
    if lengths.max() <= 1:
        places = np.cumsum(lengths) - 1
        return values.take(pa.array(places, mask=lengths == 0))
    offsets = np.zeros(rows + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(lengths == 0))


def _values(column: _Column) -> pa.Array:
    if column.kind == "int64":
        return pa.array(column.values, pa.int64())
    if column.kind == "float":
        return pa.array(column.values, pa.float32())
    raw = pa.array(column.values, pa.binary())
    try:
        return raw.cast(pa.string())
    except pa.ArrowInvalid:
        return raw


def _checksum() -> Callable[[bytes], int]:
    try:
        import google_crc32c
    except ImportError as error:
        raise ConfigError("TFRecord files need google-crc32c; pip install 'larix[tfrecord]'") from error
    value: Callable[[bytes], int] = google_crc32c.value
    return value
