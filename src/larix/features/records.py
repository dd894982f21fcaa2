"""Records: one record batch as features read it, by column name, with types checked.

Knows Arrow's types and no feature.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa

from larix.batch import Ids
from larix.errors import ConfigError, DataError
from larix.features import kernels
from larix.features.kernels import Flat, Kind, ListView, Ranges, Reads

_BOOL = {pa.lib.Type_BOOL: Kind.boolean}
_INTEGERS = {
    pa.lib.Type_INT8: Kind.i8,
    pa.lib.Type_UINT8: Kind.u8,
    pa.lib.Type_INT16: Kind.i16,
    pa.lib.Type_UINT16: Kind.u16,
    pa.lib.Type_INT32: Kind.i32,
    pa.lib.Type_UINT32: Kind.u32,
    pa.lib.Type_INT64: Kind.i64,
}
_UNSIGNED = {pa.lib.Type_UINT64: Kind.u64}
_FLOATS = {pa.lib.Type_FLOAT: Kind.f32, pa.lib.Type_DOUBLE: Kind.f64}
_TEXTS = {
    pa.lib.Type_STRING: Kind.text32,
    pa.lib.Type_BINARY: Kind.text32,
    pa.lib.Type_LARGE_STRING: Kind.text64,
    pa.lib.Type_LARGE_BINARY: Kind.text64,
}


class Kinds(NamedTuple):
    """Arrow types a feature accepts, with how each lies in memory.

    ``what``: the same in words, for an error.
    """

    what: str
    by_type: Mapping[int, Any]


ID = Kinds("integers, booleans or strings", {**_BOOL, **_INTEGERS, **_UNSIGNED, **_TEXTS})
NUMBER = Kinds("integers, floats, decimals or booleans", {**_BOOL, **_INTEGERS, **_UNSIGNED, **_FLOATS})
TIME = Kinds(
    "integers of milliseconds since the epoch, or timestamps", {**_INTEGERS, pa.lib.Type_TIMESTAMP: Kind.i64}
)
_LISTS = frozenset((pa.lib.Type_LIST, pa.lib.Type_LARGE_LIST, pa.lib.Type_FIXED_SIZE_LIST))
TICKS = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}


class Records:
    """A record batch during one transform. ``size``: its rows.

    What it hands out points into the batch's own buffers.
    """

    __slots__ = ("_schema", "_times", "batch", "reads", "size")

    def __init__(self, batch: pa.RecordBatch) -> None:
        if not isinstance(batch, pa.RecordBatch):
            raise ConfigError(
                f"features read a pyarrow.RecordBatch, not a {type(batch).__name__}; a Table has to_batches()"
            )
        self.batch = batch
        self.size: int = batch.num_rows
        self.reads = Reads()
        self._schema = batch.schema
        self._times: dict[str, Ids] = {}

    def flat(self, name: str, kinds: Kinds) -> Flat:
        """The column ``name``, of one of ``kinds`` (ID, NUMBER or TIME).

        Raises DataError if missing or of another type.
        """
        array = self._array(name)
        seen = _see(array, kinds)
        if seen is None:
            self._wrong_type(name, array.type, kinds.what)
        return seen

    def lists(self, name: str, kinds: Kinds) -> ListView:
        """The list column ``name`` with elements of one of ``kinds``.

        Raises DataError if missing or of another type.
        """
        array = self._array(name)
        dtype = array.type
        if dtype.id == pa.lib.Type_NA:
            array = array.cast(pa.list_(pa.int64()))
        elif dtype.id in _LISTS:
            plain = _plain(dtype.value_type, kinds)
            if plain is not None:
                array = _decoded(array, plain)
        child = _see(array.values, kinds) if array.type.id in _LISTS else None
        if child is None:
            self._wrong_type(name, dtype, f"lists of {kinds.what}")
        return kernels.list_view(array, child)

    def ranges(self, name: str, view: ListView, newest: int | None) -> Ranges:
        """The last ``newest`` elements of every row of the list column ``name``."""
        ranges, damaged = kernels.newest_ranges(view, newest)
        if damaged >= 0:
            raise DataError(
                f"column '{name}' row {damaged}: the list lies outside its column; the batch is damaged"
            )
        return ranges

    def ids(self, name: str, view: Flat, ranges: Ranges | None = None) -> Callable[[], Ids]:
        """Have the column ``name`` read as ids, nulls as anything; to be called after the run."""
        out, number = self.reads.ids(view, ranges)

        def done() -> Ids:
            wrong, at, _ = self.reads.status(number)
            if wrong:
                self.damaged(name, at)
            return out

        return done

    def times(self, name: str) -> Ids:
        """The time column ``name`` as milliseconds, read at once and kept. Raises DataError on a null."""
        if name not in self._times:
            view = self.flat(name, TIME)
            self.no_nulls(name, view, None, "every sample must have a time; drop the row")
            self._times[name] = kernels.read_times(view)
        return self._times[name]

    def damaged(self, name: str, at: int) -> NoReturn:
        """Raise DataError naming the string column that is not as Arrow says it must be."""
        raise DataError(f"column '{name}': string {at} lies outside its column; the record batch is damaged")

    def fail(self, name: str, view: Flat, at: int, ranges: Ranges | None, why: str) -> NoReturn:
        """Raise DataError naming the column, the row and the value of output element ``at``."""
        row, element = at, at
        where = ""
        if ranges is not None:
            row = int(np.searchsorted(ranges.offsets, at, side="right")) - 1
            element = int(ranges.starts[row]) + at - int(ranges.offsets[row])
            where = f" element {at - int(ranges.offsets[row])} of its list"
        raise DataError(f"column '{name}' row {row}{where} is {view.array[element].as_py()!r}; {why}")

    def no_nulls(self, name: str, view: Flat, ranges: Ranges | None, why: str) -> None:
        """Raise DataError naming the first null of a column where none may be."""
        if view.nulls:
            known = kernels.read_known(view, ranges)
            if not known.all():
                self.fail(name, view, int(np.argmin(known)), ranges, why)

    def same_lengths(self, first: str, a: ListView, second: str, b: ListView, why: str) -> None:
        """Raise DataError naming both columns and the row unless the lists of every row are of one length."""
        row = kernels.first_mismatch(a, b)
        if row >= 0:
            x, y = (len(view.array[row].as_py() or ()) for view in (a, b))
            raise DataError(
                f"columns '{first}' and '{second}' row {row} hold lists of {x} and {y} elements; {why}"
            )

    def _array(self, name: str) -> pa.Array:
        index = self._schema.get_field_index(name)
        if index < 0:
            names = self._schema.names
            if name in names:
                raise DataError(
                    f"column '{name}' is there {names.count(name)} times; a record batch needs it once"
                )
            raise DataError(
                f"column '{name}' is missing; the columns are {', '.join(sorted(names)) or 'none'}"
            )
        return self.batch.column(index)

    def _wrong_type(self, name: str, got: pa.DataType, expected: str) -> NoReturn:
        raise DataError(f"column '{name}' is {got}; expected {expected}{_way_out(got, expected)}")


def _way_out(got: pa.DataType, expected: str) -> str:
    """What to do about a column of type ``got``, as the end of a sentence; "" where nothing is known to help."""
    if pa.types.is_struct(got):
        fields = ", ".join(field.name for field in got)
        return f"; write its fields ({fields}) as columns of their own"
    wants_list, is_list = expected.startswith("lists"), got.id in _LISTS
    if is_list and not wants_list:
        return "; Ids and Sequence read lists"
    if wants_list and not is_list:
        return "; Id, Dense and others read one value a row"
    inner = got.value_type if is_list or pa.types.is_dictionary(got) else got
    if ID.what in expected and (pa.types.is_floating(inner) or pa.types.is_decimal(inner)):
        return "; a Bucket makes ids of such numbers, or cast the column to whole ones"
    if NUMBER.what in expected and inner.id in _TEXTS:
        return "; an Id reads text, or cast the column to numbers"
    return ""


def _see(array: pa.Array, kinds: Kinds) -> Flat | None:
    """The array in place if its memory can be read as one of ``kinds``, else after a cast, else None."""
    dtype = array.type
    kind = kinds.by_type.get(dtype.id)
    if kind is not None:
        return kernels.flat(array, kind, TICKS[dtype.unit] if dtype.id == pa.lib.Type_TIMESTAMP else (1, 1))
    plain = _plain(dtype, kinds)
    return None if plain is None else _see(array.cast(plain), kinds)


def _plain(dtype: pa.DataType, kinds: Kinds) -> pa.DataType | None:
    """The type to cast to before reading, where ``dtype`` is not one of ``kinds`` but holds values of one."""
    match dtype.id:
        case pa.lib.Type_DICTIONARY:
            return dtype.value_type
        case pa.lib.Type_NA:
            return pa.int64()
        case pa.lib.Type_STRING_VIEW | pa.lib.Type_BINARY_VIEW if pa.lib.Type_STRING in kinds.by_type:
            return pa.large_binary()
        case pa.lib.Type_HALF_FLOAT if pa.lib.Type_FLOAT in kinds.by_type:
            return pa.float32()
        case _ if pa.types.is_decimal(dtype) and pa.lib.Type_DOUBLE in kinds.by_type:
            return pa.float64()
    return None


def _decoded(array: pa.Array, plain: pa.DataType) -> pa.Array:
    """A list array with elements cast to ``plain``: those of its own rows only, whatever it is a slice of."""
    rows = len(array)
    if rows == 0:
        return pa.nulls(0, pa.list_(plain))
    mask = array.is_null() if array.null_count else None
    if array.type.id == pa.lib.Type_FIXED_SIZE_LIST:
        size = array.type.list_size
        values = array.values.slice(array.offset * size, rows * size)
        return pa.FixedSizeListArray.from_arrays(values.cast(plain), size, mask=mask)
    offsets = array.offsets.to_numpy()
    begin, end = int(offsets[0]), int(offsets[-1])
    values = array.values.slice(begin, end - begin)
    return type(array).from_arrays(pa.array(offsets - begin), values.cast(plain), mask=mask)
