"""Python values as a column: of the type that was told, or of their own, whatever they are. Knows no format."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

_FAULTS = (pa.ArrowException, OverflowError, TypeError, ValueError)


def column(values: Sequence[Any]) -> pa.Array:
    """The values as Arrow sees them; as text, where they are of several kinds, so that each may be cast on its own."""
    try:
        return pa.array(values)
    except _FAULTS:
        return pa.array([None if value is None else text(value) for value in values], pa.string())


def typed(values: list[Any], kind: pa.DataType) -> pa.Array | None:
    """The values as ``kind``; None, if they would not come back from it as they are (1.5 from int64)."""
    try:
        found = pa.array(values, kind)
        back = found.to_pylist()
        return found if back == values or repr(back) == repr(values) else None  # NaN is not itself
    except _FAULTS:
        return None


def text(value: Any) -> str:
    """Text as it is, with halves of characters replaced; bytes with those that are no text as ``\\xff``; all else as JSON."""
    said = _said(value)
    said = said if isinstance(said, str) else json.dumps(said, default=_said)
    return said.encode("utf-8", "replace").decode()


def _said(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, int | float | str | list | tuple | dict) else str(value)
