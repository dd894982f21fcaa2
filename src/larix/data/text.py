"""CSV and JSON lines as blocks of columns, types told by each block. Knows nothing of Parquet or of other
blocks.

Whole numbers stay whole, up to uint64, and text stays text: no date is guessed.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pcsv

from larix.data.block import BLOCK_BYTES, Block, opened
from larix.data.widen import wider
from larix.errors import DataError

_GUESSES = (pa.int64(), pa.uint64(), pa.float64(), pa.bool_())


def csv_blocks(path: Path, text: set[str]) -> Iterator[Block]:
    """The records of a CSV file with a header line (``.tsv``: tabs; ``.gz``: gunzipped), a block at a time.

    An empty field is null. A column of a block is int64, uint64, double or bool where all its fields are,
    else string. Columns in ``text`` are string; one that is found to be is added, so that it stays string
    in later blocks.

    Raises:
        DataError: no header, a column named twice, a record with another number of fields.
    """
    tabs = ".tsv" in path.suffixes
    parse = pcsv.ParseOptions(delimiter="\t" if tabs else ",", newlines_in_values=True)
    read = pcsv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False)  # threads would not say which record
    try:
        with opened(path) as (source, _):
            names = pcsv.open_csv(source, read_options=read, parse_options=parse).schema.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"'{path}' has more than one column '{twice[0]}'; give each its own name")
        with opened(path) as (source, tell):
            reader = pcsv.open_csv(
                source,
                read_options=read,
                parse_options=parse,
                convert_options=pcsv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
                ),
            )
            first = 1
            for batch in reader:
                columns = {name: batch[name] if name in text else _guessed(batch[name]) for name in names}
                text.update(name for name in names if pa.types.is_string(columns[name].type))
                yield Block(pa.table(columns), first, tell())
                first += len(batch)
    except pa.ArrowInvalid as error:
        raise DataError(f"'{path}' cannot be read as CSV: {error}; repair it") from error


def json_blocks(path: Path) -> Iterator[Block]:
    """The records of a file with one JSON object a line (``.gz``: gunzipped; empty lines are skipped), a
    block at a time.

    Lists become list columns, objects within become structs; a key that a record lacks is null.

    Raises:
        DataError: a line is no JSON object, or a value is of another type than those before; names the
            record.
    """
    with opened(path) as (source, tell):
        records: list[dict[str, Any]] = []
        first, size = 1, 0
        for line in source:
            if not line.strip():
                continue
            records.append(_parsed(line, first + len(records), path))
            size += len(line)
            if size >= BLOCK_BYTES:
                yield Block(_table(records, first, path), first, tell())
                first, size, records = first + len(records), 0, []
        if records:
            yield Block(_table(records, first, path), first, tell())


def _guessed(column: pa.Array) -> pa.Array:
    if column.null_count == len(column):
        return pa.nulls(len(column))
    for kind in _GUESSES:
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    return column


def _parsed(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DataError(f"record {number} of '{path}' is not JSON: {error}; repair it") from error
    if not isinstance(record, dict):
        raise DataError(
            f"record {number} of '{path}' is a {type(record).__name__}; each line must be an object"
        )
    return record


def _table(records: list[dict[str, Any]], first: int, path: Path) -> pa.Table:
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: _column([record.get(name) for record in records], name, first, path) for name in names}
    if columns:
        return pa.table(columns)
    return pa.table({"_": pa.nulls(len(records))}).select([])


def _column(values: list[Any], name: str, first: int, path: Path) -> pa.Array:
    array = _array(values)
    if array is not None:
        return array
    # Which record it is that does not fit: the first whose type cannot be had together with those before it.
    found = pa.null()
    for number, value in enumerate(values, start=first):
        array = _array([value])
        widened = None if array is None else wider(found, array.type)
        if widened is None:
            kind = "of no one type" if array is None else array.type
            before = "" if number == first else f", but {found} before"
            raise DataError(
                f"'{name}' of record {number} of '{path}' is {kind}: {value!r:.60}{before}; repair it"
            )
        found = widened
    raise DataError(
        f"'{name}' of records {first} to {first + len(values) - 1} of '{path}' is not all {found}"
    )


def _array(values: list[Any]) -> pa.Array | None:
    try:
        array = pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        if not all(value is None or type(value) is int for value in values):
            return None
        try:
            return pa.array(values, pa.uint64())
        except (pa.ArrowException, OverflowError):
            return None
    # Arrow may round whole numbers among fractions to doubles without a word.
    return array if not pa.types.is_float64(array.type) or all(map(_exact, values)) else None


def _exact(value: Any) -> bool:
    return type(value) is not int or int(float(value)) == value
