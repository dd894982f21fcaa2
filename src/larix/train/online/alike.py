"""Which rows can stand in one table, whatever their producers made of the columns. Knows nothing of where rows come from.

A column of which no value is there is of any type, so that what comes out follows from the values alone, however they were cut.
"""

from collections.abc import Container, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from larix.data.join.carried import conform, wider

Kinds = dict[str, pa.DataType]


def kinds(rows: pa.RecordBatch) -> Kinds:
    """The types of the columns that have values; whole numbers are as good as int64, others as float64."""
    return {
        name: _kind(column.type) for name, column in _columns(rows).items() if column.null_count < len(column)
    }


def clash(one: Kinds, other: Kinds) -> bool:
    """Whether a column is of two types."""
    return any(other.get(name, kind) != kind for name, kind in one.items())


def plain(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows in columns of types as `kinds` tells them; of two columns of one name the first."""
    columns = {}
    for name, column in _columns(rows).items():
        empty = column.null_count == len(column)
        columns[name] = pa.nulls(len(column)) if empty else conform(column, _kind(column.type))
    return pa.RecordBatch.from_pydict(columns)


def first_clash(parts: Sequence[pa.Table], exact: Container[str] = ()) -> int:
    """How many of the first rows of ``parts``, tables of the same columns, can be in one table by widening types.

    In columns that are ``exact`` whole numbers stay whole.
    """
    held: Kinds = {}
    count = 0
    if len(parts) == 1:
        return len(parts[0])
    for part in parts:
        end = len(part)
        for name, column in zip(part.schema.names, part.columns, strict=True):
            if column.null_count == len(column):
                continue
            before = held.get(name, column.type)
            wide = wider(before, column.type)
            if wide is None or (name in exact and _real(before) != _real(column.type)):
                end = min(end, pc.index(column.is_valid(), True).as_py())
            else:
                held[name] = wide
        if end < len(part):
            return count + end
        count += len(part)
    return count


def together(parts: Sequence[pa.Table]) -> pa.Table:
    """Parts in which `first_clash` found none as one table."""
    if len(parts) == 1:
        return parts[0]
    columns = {}
    for name in parts[0].schema.names:
        some = [part[name] for part in parts]
        wide: pa.DataType = pa.null()
        for column in some:
            if column.null_count < len(column):
                found = wider(wide, column.type)
                assert found is not None, f"column '{name}' is {wide} and {column.type}"
                wide = found
        columns[name] = pa.chunked_array([_as(column, wide) for column in some], wide)
    return pa.table(columns)


def _columns(rows: pa.RecordBatch) -> dict[str, pa.Array]:
    found: dict[str, pa.Array] = {}
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        found.setdefault(name, column)
    return found


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    if column.null_count == len(column):
        return pa.nulls(len(column), kind)
    return conform(pa.concat_arrays(column.chunks), kind)


def _real(kind: pa.DataType) -> bool:
    """Whether it is of numbers that are not whole, or of lists of such."""
    return _real(kind.value_type) if pa.types.is_list(kind) else bool(pa.types.is_floating(kind))


def _kind(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return pa.int64()
    return pa.float64() if pa.types.is_floating(kind) else kind
