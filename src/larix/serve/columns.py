"""Values as requests bring them, as typed Arrow columns; what does not fit is told by column, row and what is expected.

Nothing is cut off or parsed out of text on the way, nor rounded but to a column's own 32 bits; true is 1 for numbers.
Knows nothing of features.
"""

import reprlib
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

import larix._native as native
from larix.batch import Floats, Ids
from larix.errors import ConfigError, DataError

# Plain types, by the names that a signature's JSON has for them; a column is of one of these, or of lists of one.
PLAIN: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    **{
        f"{sign}int{bits}": getattr(pa, f"{sign}int{bits}")()
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
}
_NAMES = {dtype: name for name, dtype in PLAIN.items()}
# Python's types whose values Arrow takes as they are, or refuses, when it is told that they are of a type, by the type's
# number. A float among integers it would cut off.
_TAKEN: dict[int, frozenset[type]] = {
    pa.lib.Type_BOOL: frozenset((bool, type(None))),
    pa.lib.Type_STRING: frozenset((str, type(None))),
    pa.lib.Type_BINARY: frozenset((bytes, type(None))),
    **dict.fromkeys((pa.lib.Type_FLOAT, pa.lib.Type_DOUBLE), frozenset((float, int, type(None)))),
    **{dtype.id: frozenset((int, type(None))) for dtype in PLAIN.values() if types.is_integer(dtype)},
}
Span = tuple[int, int]
"""Where something stands in a text, in bytes: from, to."""
Filled = tuple[pa.RecordBatch, dict[str, int]]
"""A batch, and how many values of it are null by column."""
_LISTS = frozenset((list, type(None)))
_WRONG = (ValueError, TypeError, OverflowError)  # those of pyarrow are among them


def type_name(dtype: pa.DataType) -> str:
    """As ``int64``, or ``list<int64>``."""
    return f"list<{_NAMES[dtype.value_type]}>" if types.is_list(dtype) else _NAMES[dtype]


def type_of(name: str) -> pa.DataType:
    """The type that ``type_name`` calls so; ConfigError if there is none."""
    inner = name.removeprefix("list<").removesuffix(">")
    if inner not in PLAIN or name not in (inner, f"list<{inner}>"):
        raise ConfigError(
            f"there is no column type {name!r}; there are {', '.join(PLAIN)}, and list<> of each"
        )
    return PLAIN[inner] if name == inner else pa.list_(PLAIN[inner])


def typed(schema: pa.Schema) -> dict[str, pa.DataType]:
    """Types by name, to be kept: a schema makes them anew whenever it is asked."""
    return dict(zip(schema.names, schema.types, strict=True))


def served_type(name: str, dtype: pa.DataType) -> pa.DataType:
    """What requests bring a column of logs as: the same values plainly laid out, timestamps as int64 milliseconds.

    ConfigError for a type that features do not read, or that tells nothing, as that of a column of nulls alone.
    """
    if types.is_dictionary(dtype):
        return served_type(name, dtype.value_type)
    if types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype):
        inner = served_type(name, dtype.value_type)
        if not types.is_list(inner):
            return pa.list_(inner)
    elif types.is_timestamp(dtype):
        return pa.int64()
    elif types.is_float16(dtype):
        return pa.float32()
    elif types.is_large_string(dtype) or types.is_string_view(dtype):
        return pa.string()
    elif types.is_large_binary(dtype) or types.is_binary_view(dtype):
        return pa.binary()
    elif types.is_decimal(dtype):
        return pa.float64()
    elif dtype in _NAMES:
        return dtype
    raise ConfigError(
        f"column '{name}' is {dtype} in the logged samples, which a request cannot bring; cast it"
    )


def as_served(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    """A column of logs as requests would bring it: ``dtype`` is its ``served_type``."""
    if types.is_timestamp(array.type):
        array = pc.floor_temporal(array.cast(pa.timestamp(array.type.unit)), unit="millisecond")
        return array.cast(pa.timestamp("ms")).cast(dtype)
    if types.is_list(dtype) and types.is_timestamp(array.type.value_type):
        lists = array.cast(pa.list_(array.type.value_type))
        values = as_served(lists.values, dtype.value_type)
        mask = lists.is_null() if lists.null_count else None
        return pa.ListArray.from_arrays(lists.offsets, values, mask=mask)
    return array if array.type == dtype else array.cast(dtype)


def column(name: str, values: Any, dtype: pa.DataType) -> pa.Array:
    """A list, tuple, numpy array (``[n]``, or ``[n, k]`` for lists) or Arrow array as an array of ``dtype``.

    DataError tells the first row that does not fit. Arrays of the right type are taken as they are, without a copy.
    """
    if isinstance(values, pa.Array) and values.type == dtype:
        return values
    if type(values) is list and _as_told(values, dtype):
        try:
            return pa.array(values, dtype)
        except _WRONG:
            pass  # it is told which one it is
    return _looked_at(name, values, dtype)


def _looked_at(name: str, values: Any, dtype: pa.DataType) -> pa.Array:
    if not isinstance(values, list | tuple | np.ndarray | pa.Array):
        raise DataError(f"column '{name}' is {_told(values)}; expected a list of {type_name(dtype)}")
    try:
        if isinstance(values, np.ndarray) and values.ndim == 2 and types.is_list(dtype):
            ends = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
            return pa.ListArray.from_arrays(ends, _typed(values.reshape(-1), dtype.value_type))
        return _typed(values, dtype)
    except _WRONG:
        pass  # which one is it? Values that do not go together may each be fine, as 2**60 and 1.0 are
    parts = [one(name, value, dtype, row) for row, value in enumerate(values)]
    return pa.concat_arrays(parts) if parts else pa.nulls(0, dtype)


def one(name: str, value: Any, dtype: pa.DataType, row: int | None = None) -> pa.Array:
    """One value as an array of ``dtype``. DataError names the column, and the row if given."""
    try:
        return _typed([value], dtype)
    except _WRONG:
        if isinstance(value, pa.Scalar):
            value = value.as_py()
        at = "" if row is None else f" row {row}"
        raise DataError(f"column '{name}'{at} is {_told(value)}; expected {type_name(dtype)}") from None


def row(values: Mapping[str, Any], typed: Mapping[str, pa.DataType]) -> list[pa.Array]:
    """One value for each column of ``typed``, in its order; null where there is none. DataError names one that does not fit.

    A value may be an Arrow array of one row, which is taken as it is.
    """
    alike: dict[tuple[int, int], list[str]] = {}
    found: dict[str, pa.Array] = {}
    for name, dtype in typed.items():
        value = values.get(name)
        if not isinstance(value, pa.Array):
            inner = dtype.value_type.id if dtype.id == pa.lib.Type_LIST else -1
            alike.setdefault((dtype.id, inner), []).append(name)
        elif len(value) != 1:
            raise DataError(f"column '{name}' has {len(value)} rows; it is the request's and has 1")
        else:
            found[name] = column(name, value, dtype)
    for names in alike.values():  # many small arrays take longer than slices of a few
        dtype, given = typed[names[0]], [values.get(name) for name in names]
        try:
            together = pa.array(given, dtype) if _as_told(given, dtype) else _typed(given, dtype)
        except _WRONG:
            found |= {name: one(name, value, dtype) for name, value in zip(names, given, strict=True)}
        else:
            found |= {name: together.slice(at, 1) for at, name in enumerate(names)}
    return [found[name] for name in typed]


class Plain:
    """Values as JSON has them, for the columns of one schema, taken in one go if each is plainly of its column's type.

    What it gives: the batch, and how many values are null by column; None if a value is not, or a column is unknown. What is
    not given is null.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._at = {name: at for at, name in enumerate(schema.names)}
        self._columns = native.Columns([(field.name, type_name(field.type)) for field in schema])

    def __call__(self, values: Mapping[str, Any], *, row: bool) -> Filled | None:
        """``values``: a list a column, or, for one ``row``, a value; of what is no column nothing is said."""
        return self._held(self._columns.take(values, row) if type(values) is dict else None)

    def row_of(self, json: bytes, spans: Sequence[Span], time: str | None, now: int) -> Filled | None:
        """As a call for one row, of the objects at ``spans`` of a text of JSON. ``now`` stands for ``time`` if that is null."""
        return self._held(self._columns.row(json, spans, -1 if time is None else self._at[time], now))

    def rows_of(self, json: bytes, span: Span, item: str, most: int) -> Filled | None:
        """As a call for rows, of the list of objects, or the object of lists, ``item`` among them, at ``span``.

        None, too, if there are more than ``most``.
        """
        return self._held(self._columns.rows(json, span, self._at[item], most))

    def with_tensors(
        self,
        theirs: "Plain",
        body: bytes,
        inputs: Span,
        data: int,
        *,
        item: str,
        most: int,
        time: str | None,
        now: int,
    ) -> tuple[Filled, Filled] | None:
        """Of binary tensors the one row of these columns, and the rows of ``theirs``, at most ``most``; numbers stay in ``body``.

        ``inputs``: where its JSON has the list of tensors, which follow one another from ``data`` on. ``item``: a column that has
        to be there. ``now`` stands for ``time`` if that is not given.
        """
        when = -1 if time is None else self._at[time]
        taken = native.tensors(
            self._columns, theirs._columns, body, inputs, data, theirs._at[item], most, when, now
        )
        return self._both_held(theirs, taken)

    def with_message(
        self, theirs: "Plain", message: bytes, *, item: str, most: int, time: str | None, now: int
    ) -> tuple[Filled, Filled] | None:
        """As `with_tensors`, of a ModelInferRequest of gRPC with raw contents."""
        when = -1 if time is None else self._at[time]
        taken = native.message_tensors(
            self._columns, theirs._columns, message, theirs._at[item], most, when, now
        )
        return self._both_held(theirs, taken)

    def _both_held(
        self, theirs: "Plain", taken: tuple[tuple[int, dict[str, int]], tuple[int, dict[str, int]]] | None
    ) -> tuple[Filled, Filled] | None:
        if taken is None:
            return None
        own, rows = self._held(taken[0]), theirs._held(taken[1])
        assert own is not None
        assert rows is not None
        return own, rows

    def _held(self, taken: tuple[int, dict[str, int]] | None) -> Filled | None:
        if taken is None:
            return None
        address, nulls = taken
        return pa.RecordBatch._import_from_c(address, self._schema), nulls


def parted(document: bytes, names: Sequence[str]) -> tuple[bytes, list[Span | None]] | None:
    """A JSON document with empty ones for the objects and lists that stand for ``names`` in it, and where each is.

    What they hold is not looked at: all parts are JSON if, and only if, the whole is. None if that cannot be told plainly.
    """
    return native.parted(document, names)


def message_rest(message: bytes, most: int) -> bytes | None:
    """A ModelInferRequest without its tensors, which `Plain.with_message` reads.

    None if it is no message, or one of more than ``most`` fields.
    """
    return native.message_rest(message, most)


def page_json(
    items: Ids | Sequence[bytes],
    order: Ids,
    value: NDArray[np.float64],
    scores: Sequence[Floats],
    names: Sequence[bytes],
) -> bytes:
    """The items of a page as a list of JSON objects: ``item``, ``position``, ``value`` and, by name, ``scores``.

    ``items``: int64 ``[k]``, or, what is no number, as JSON. ``order``: int64 ``[k]``, whom of the ``n`` that ``value``,
    float64, and each of ``scores``, float32, tell of. ``names``: of scores, as JSON with a colon.
    """
    return native.page(items, order, value, scores, names)


def _as_told(values: list[Any], dtype: pa.DataType) -> bool:
    """Whether Arrow takes each value as it is, or refuses it, when it is told the type."""
    if dtype.id != pa.lib.Type_LIST:
        return _TAKEN[dtype.id].issuperset(map(type, values))
    if not _LISTS.issuperset(map(type, values)):
        return False
    return _TAKEN[dtype.value_type.id].issuperset(map(type, chain.from_iterable(filter(None, values))))


def first_null(array: pa.Array) -> int:
    """The first row that is null."""
    return int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))


def _typed(values: Any, dtype: pa.DataType) -> pa.Array:
    """ValueError, TypeError or OverflowError if a value is not wholly one of ``dtype``.

    Given the type, Arrow would cut 1.5 off to the integer 1: so it is let find the type first.
    """
    array = values if isinstance(values, pa.Array) else _found(values, dtype)
    if array.type == dtype:
        return array
    if not _fits(array.type, dtype):
        raise ValueError
    return array.cast(dtype)


def _found(values: Any, dtype: pa.DataType) -> pa.Array:
    try:
        return pa.array(values)
    except OverflowError:  # of itself Arrow takes no integer to be a uint64
        if type(values) is not list or not _as_told(values, dtype):
            raise
        return pa.array(values, dtype)


def _fits(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of one type may stand for those of another if each has its equal there."""
    if types.is_null(given):
        return True
    if types.is_list(wanted):
        lists = types.is_list(given) or types.is_large_list(given) or types.is_fixed_size_list(given)
        return lists and _fits(given.value_type, wanted.value_type)
    if types.is_integer(wanted) or types.is_floating(wanted):
        return bool(types.is_integer(given) or types.is_floating(given) or types.is_boolean(given))
    if wanted in (pa.string(), pa.binary()):
        return _is_text(given)
    return bool(given == wanted)


def _is_text(dtype: pa.DataType) -> bool:
    wide = types.is_large_string(dtype) or types.is_large_binary(dtype)
    views = types.is_string_view(dtype) or types.is_binary_view(dtype)
    return bool(wide or views or types.is_string(dtype) or types.is_binary(dtype))


def _told(value: Any) -> str:
    return reprlib.repr(value)
