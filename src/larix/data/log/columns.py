"""Events as a consumer wants them: columns chosen, cast and filled, and the rows for which that cannot be.

Columns that nobody asked for are passed over, so a producer may add some at any time. Knows nothing of topics.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from larix.errors import ConfigError

REQUIRED: Final = object()

_LIST = re.compile(r"list<(.+)>")


@dataclass(frozen=True)
class Column:
    """A column that a consumer wants, as ``type``.

    ``default`` stands where an append lacks the column or has a null in it; without one, the column must be there, and
    nulls stay. Values of other types are cast if nothing is lost (1 becomes 1.0, "7" becomes 7; 1.5 is no int64).
    """

    name: str
    type: pa.DataType
    default: Any = REQUIRED

    def __post_init__(self) -> None:
        if self.default is REQUIRED:
            return
        try:
            pa.scalar(self.default, self.type)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ConfigError(
                f"the default of column '{self.name}' is {self.default!r}, which is no {self.type}"
            ) from error

    @classmethod
    def from_json(cls, name: str, said: Any) -> Self:
        """The column that a type's name says, such as "int64" or "list<string>", or ``{"type": "int64", "default": 0}``.

        Raises:
            ConfigError: it is something else.
        """
        given = {"type": said} if isinstance(said, str) else said
        if not isinstance(given, Mapping) or "type" not in given or given.keys() - {"type", "default"}:
            raise ConfigError(
                f'column \'{name}\' is {said!r}; give a type, such as "int64", or {{"type": "int64", "default": 0}}'
            )
        return cls(name, _type(name, given["type"]), given.get("default", REQUIRED))


def _type(name: str, said: Any) -> pa.DataType:
    if isinstance(said, str) and (items := _LIST.fullmatch(said)):
        return pa.list_(_type(name, items[1]))
    try:
        return pa.type_for_alias(said)
    except (ValueError, AttributeError) as error:
        raise ConfigError(
            f"column '{name}' is {said!r}, which is no type; take one such as int64, float64, string, bool, "
            "timestamp[ms] or list<int64>"
        ) from error


class Rejected(NamedTuple):
    """Rows of one append that cannot be had as asked for, and why: ``reason`` in general, ``detail`` for the first."""

    rows: npt.NDArray[np.int64]
    reason: str
    detail: str


def project(events: pa.RecordBatch, columns: Sequence[Column]) -> tuple[pa.RecordBatch, list[Rejected]]:
    """The rows of ``events`` that can be had as ``columns``, in order, and the others."""
    good = np.ones(len(events), dtype=bool)
    rejected: list[Rejected] = []
    arrays = []
    for column in columns:
        values, bad, reason, detail = _taken(events, column)
        arrays.append(values)
        rows = bad[good[bad]]
        if len(rows):
            rejected.append(Rejected(rows, reason, detail))
            good[rows] = False
    wanted = pa.schema([(column.name, column.type) for column in columns])
    projected = pa.RecordBatch.from_arrays(arrays, schema=wanted)
    return (projected.filter(pa.array(good)) if rejected else projected), rejected


_NONE = np.zeros(0, dtype=np.int64)


def _taken(events: pa.RecordBatch, column: Column) -> tuple[pa.Array, npt.NDArray[np.int64], str, str]:
    """The column's values, with nulls for the rows that are bad; those rows; what is wrong with them."""
    count = len(events)
    places = events.schema.get_all_field_indices(column.name)
    if len(places) > 1:
        reason = f"column '{column.name}' is there {len(places)} times"
        return pa.nulls(count, column.type), np.arange(count), reason, ""
    if not places:
        if column.default is REQUIRED:
            there = ", ".join(events.schema.names)
            return (
                pa.nulls(count, column.type),
                np.arange(count),
                f"no column '{column.name}'",
                f"has {there}",
            )
        return pa.repeat(pa.scalar(column.default, column.type), count), _NONE, "", ""
    values: pa.Array = events.column(places[0])
    bad, reason, detail = _NONE, "", ""
    if values.type != column.type:
        reason = f"column '{column.name}' is {values.type}, wanted {column.type}"
        values, bad, detail = cast(values, column.type)
    if column.default is not REQUIRED and column.default is not None and values.null_count:
        values = pc.fill_null(values, pa.scalar(column.default, column.type))
    return values, bad, reason, detail


def cast(values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, npt.NDArray[np.int64], str]:
    """The values as ``kind``, null where they cannot be; which; why the first cannot."""
    try:
        return values.cast(kind), _NONE, ""
    except pa.ArrowNotImplementedError as error:
        return pa.nulls(len(values), kind), np.flatnonzero(values.is_valid()), str(error)
    except pa.ArrowException as error:
        if len(values) == 1:
            return pa.nulls(1, kind), np.zeros(1, dtype=np.int64), str(error)
    # By halves: the good ones among many are cast together, and few bad ones are found in few steps.
    half = len(values) // 2
    left, bad_left, detail = cast(values[:half], kind)
    right, bad_right, other = cast(values[half:], kind)
    return pa.concat_arrays([left, right]), np.concatenate([bad_left, bad_right + half]), detail or other
