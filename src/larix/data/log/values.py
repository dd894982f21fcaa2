"""Python values as a column: of the type that was told, or of their own, whatever they are. Knows no format.

As columns they may be far larger than as they came, for a struct has every field of every row: `grown` tells beforehand.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from larix.errors import DataError

MOST: Final = 1 << 25  # values that a payload may grow to

_DEEPEST = 60  # levels of a value: Arrow's own files take 64 of a column
_NESTED = {dict, list, tuple}
_FAULTS = (pa.ArrowException, OverflowError, TypeError, ValueError)


def column(values: Sequence[Any]) -> pa.Array:
    """The values as Arrow sees them; as text, where they are of several kinds, so that each may be cast on its own."""
    try:
        return pa.array(values)
    except _FAULTS:
        return pa.array([None if value is None else text(value) for value in values], pa.string())


def grown(found: Sequence[Any], length: int | None = None, depth: int = 0) -> int:
    """How many values there are in the array that these become, nulls and those inside of others included.

    ``length``: of the array, if there are nulls beside them. DataError if they are too many levels deep for Arrow.
    """
    length = len(found) if length is None else length
    if _NESTED.isdisjoint(map(type, found)):
        return length
    if depth == _DEEPEST:
        raise DataError(f"values of more than {_DEEPEST} levels")
    fields: dict[str, list[Any]] = {}
    items: list[Any] = []
    for value in found:
        if isinstance(value, dict):
            for name, inner in value.items():
                fields.setdefault(name, []).append(inner)
        elif isinstance(value, list | tuple):
            items += value
    return (
        length
        + sum(grown(each, length, depth + 1) for each in fields.values())
        + grown(items, None, depth + 1)
    )


def typed(values: list[Any], kind: pa.DataType) -> pa.Array | None:
    """The values as ``kind``; None, if they would not come back from it as they are (1.5 from int64), or for their nulls alone
    take more room than `MOST` values: of a list of fixed size a null has all items.
    """
    width = _width(kind)
    if width > 1 and _gaps(values) * width > MOST:
        return None
    try:
        found = pa.array(values, kind)
        back = found.to_pylist()
        return found if back == values or repr(back) == repr(values) else None  # NaN is not itself
    except _FAULTS:
        return None


def _width(kind: pa.DataType) -> int:
    """How many values a null of it, or a null inside of it, takes at most."""
    if pa.types.is_fixed_size_list(kind):
        return 1 + int(kind.list_size) * _width(kind.value_type)
    if pa.types.is_fixed_size_binary(kind):
        return 1 + int(kind.byte_width) // 8
    return 1 + sum(_width(kind.field(at).type) for at in range(kind.num_fields))


def _gaps(found: Sequence[Any]) -> int:
    """How many nulls there are at most, those inside of others included, and fields that a dictionary lacks as one."""
    gaps = found.count(None)
    for value in found:
        if isinstance(value, dict):
            gaps += 1 + _gaps([*value.values()])
        elif isinstance(value, list | tuple):
            gaps += _gaps(value)
    return gaps


def text(value: Any) -> str:
    """Text as it is, with halves of characters replaced; bytes with those that are no text as ``\\xff``; all else as JSON."""
    said = _said(value)
    said = said if isinstance(said, str) else json.dumps(said, default=_said)
    return said.encode("utf-8", "replace").decode()


def _said(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, int | float | str | list | tuple | dict) else str(value)
