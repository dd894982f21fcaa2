"""The one door to native code for features: typed calls that allocate the outputs.

A kernel reads a Flat or ListView in place: of a list column the child elements that ``Ranges`` says, row by
row, of a flat one (ranges None) all in order. Knows no columns' names and raises no user errors.
"""

from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import larix._native as native
from larix.batch import Floats, Ids, Offsets

Kind = native.Kind
Transform = native.Transform  # see planned.py
Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

Fill = Literal["value", "mean", "error"]


class How(TypedDict):
    """What ``dense`` does with a number."""

    clip: tuple[float, float]
    log: bool
    mean: float
    std: float
    fill: Fill
    fill_value: float


FILLS = {"value": native.Fill.value, "mean": native.Fill.mean, "error": native.Fill.refuse}
PARTS = {"hour": native.Part.hour, "weekday": native.Part.weekday}
_TEXT = (Kind.text32, Kind.text64)
_OFFSET_BYTES = {pa.lib.Type_LIST: 4, pa.lib.Type_LARGE_LIST: 8, pa.lib.Type_FIXED_SIZE_LIST: 0}


class Flat(NamedTuple):
    """An Arrow array without nesting, seen in place.

    ``ticks``: for times, milliseconds a tick as (multiplier, divisor).
    """

    array: pa.Array
    column: Any
    length: int
    nulls: int
    ticks: tuple[int, int]


class ListView(NamedTuple):
    """An Arrow list array, seen in place. ``child``: all its elements, whatever slice of the rows it is."""

    array: pa.Array
    lists: Any
    child: Flat


class Ranges(NamedTuple):
    """Row r reads child elements from ``starts[r]`` into output ``offsets[r] .. offsets[r + 1]``."""

    starts: Offsets
    offsets: Offsets

    @property
    def total(self) -> int:
        """Number of elements of all rows."""
        return int(self.offsets[-1])


def flat(array: pa.Array, kind: Any, ticks: tuple[int, int] = (1, 1)) -> Flat:
    """See an Arrow array of a type that is ``kind`` in memory."""
    buffers = array.buffers()
    length, nulls = len(array), array.null_count
    validity = 0 if nulls == 0 else buffers[0].address
    if kind in _TEXT:
        data = buffers[2]
        address, size = (0, 0) if data is None else (data.address, data.size)
        offsets = 0 if buffers[1] is None else buffers[1].address
        column = native.Column(kind, address, offsets, validity, array.offset, length if offsets else 0, size)
    else:
        address = 0 if buffers[1] is None else buffers[1].address
        column = native.Column(kind, address, 0, validity, array.offset, length, 0)
    return Flat(array, column, length, nulls, ticks)


def list_view(array: pa.Array, child: Flat) -> ListView:
    """See an Arrow list, large_list or fixed_size_list array over its whole ``child``."""
    buffers = array.buffers()
    width = _OFFSET_BYTES[array.type.id]
    fixed = array.type.list_size if width == 0 else 0
    offsets = 0 if width == 0 or buffers[1] is None else buffers[1].address
    validity = 0 if array.null_count == 0 else buffers[0].address
    rows = len(array)
    return ListView(
        array, native.Lists(width, offsets, fixed, validity, array.offset, rows, child.length), child
    )


def newest_ranges(view: ListView, newest: int | None) -> tuple[Ranges, int]:
    """The last ``newest`` elements of every row (None: all), and the first damaged row or -1."""
    rows = len(view.array)
    ranges = Ranges(np.empty(rows, np.int64), np.empty(rows + 1, np.int64))
    keep = np.iinfo(np.int64).max if newest is None else newest
    return ranges, native.newest_ranges(view.lists, keep, ranges.starts, ranges.offsets)


def first_mismatch(a: ListView, b: ListView) -> int:
    """The first row in which two list columns differ in length, or -1."""
    return int(native.first_mismatch(a.lists, b.lists))


def read_known(view: Flat, ranges: Ranges | None) -> Mask:
    """True for every element that is not null."""
    out = np.empty(_count(view, ranges), np.uint8)
    native.read_known(view.column, *_pair(ranges), out)
    return out.view(np.bool_)


def read_numbers(view: Flat, ranges: Ranges | None) -> Numbers:
    """Every element as float64, null as NaN."""
    out = np.empty(_count(view, ranges), np.float64)
    native.read_numbers(view.column, *_pair(ranges), out)
    return out


def read_times(view: Flat) -> Ids:
    """Every element as milliseconds since the epoch."""
    out = np.empty(view.length, np.int64)
    native.read_times(view.column, None, None, *view.ticks, out)
    return out


def padded(offsets: Offsets, dense: Floats, length: int) -> tuple[Mask, Floats]:
    """Lists of numbers ``[n, k]``, a row's behind the other's, as ``length`` places a row.

    Mask ``[size, length]``, True where there is an element; ``[size, length, k]``, zeros elsewhere.
    """
    size, width = len(offsets) - 1, dense.shape[1]
    mask, out = np.empty((size, length), np.bool_), np.empty((size, length, width), np.float32)
    assert native.pad(offsets, dense, mask, out), "a list is longer than its places"
    return mask, out


class Reads:
    """What a transform has to read: gathered column by column, then done in one native call.

    Every method but ``run`` and ``status`` gives the output, which ``run`` fills, and the number to ask
    ``status`` for; ``dense`` and ``log_ages`` are given the output.
    """

    def __init__(self) -> None:
        self._native = native.Reads()
        self._alive: list[Any] = []
        self._statuses: list[list[int]] = []

    def run(self, threads: int) -> None:
        """Do every read, without the GIL and on ``threads`` threads if there is enough to do."""
        statuses = np.empty((len(self._alive), 3), np.int64)
        self._native.run(threads, statuses)
        self._statuses = statuses.tolist()

    def status(self, number: int) -> list[int]:
        """Of a read that is done: what is wrong (0: nothing), at which output element, how many missing."""
        return self._statuses[number]

    def ids(self, view: Flat, ranges: Ranges | None) -> tuple[Ids, int]:
        """Every element as an id, a null as anything. Wrong: 1, a string outside its column."""
        out = np.empty(_count(view, ranges), np.int64)
        self._native.ids(view.column, *_pair(ranges), out)
        return out, self._added(view, ranges, out)

    def dense(
        self,
        view: Flat,
        ranges: Ranges | None,
        out: Floats,
        index: int,
        *,
        clip: tuple[float, float],
        log: bool,
        mean: float,
        std: float,
        fill: Fill,
        fill_value: float,
    ) -> int:
        """Transform numbers into ``out[:, index]``.

        Wrong: 1, infinite; 2, outside log1p's domain; 3, missing.
        """
        starts, offsets = _pair(ranges)
        column, (low, high), kind = view.column, clip, FILLS[fill]
        self._native.dense(column, starts, offsets, low, high, log, mean, std, kind, fill_value, out, index)
        return self._added(view, ranges, out)

    def buckets(self, view: Flat, edges: Numbers) -> tuple[Ids, int]:
        """1 + the number of ascending ``edges`` at or below each element, 0 for null and NaN."""
        out = np.empty(view.length, np.int64)
        self._native.buckets(view.column, edges, out)
        return out, self._added(view, edges, out)

    def cross(self, left: Flat, right: Flat) -> tuple[Ids, int]:
        """``mix(mix(left) ^ right)`` of the ids of two columns.

        Wrong: 1, a string of the left; 2, one of the right.
        """
        out = np.empty(left.length, np.int64)
        self._native.cross(left.column, right.column, out)
        return out, self._added(left, right, out)

    def time_parts(self, view: Flat, part: Literal["hour", "weekday"], shift_ms: int) -> tuple[Ids, int]:
        """Hour of the day or day of the week (Monday 0) of times plus ``shift_ms``, a null as anything."""
        out = np.empty(view.length, np.int64)
        self._native.time_parts(view.column, *view.ticks, PARTS[part], shift_ms, out)
        return out, self._added(view, out)

    def log_ages(self, view: Flat, ranges: Ranges, now: Ids, out: Floats, index: int) -> int:
        """Write log1p of the seconds from each element of row r to ``now[r]``, 0 if later, as ``dense``."""
        self._native.log_ages(view.column, *ranges, *view.ticks, now, out, index)
        return self._added(view, ranges, now, out)

    def _added(self, *alive: Any) -> int:
        # The native side holds addresses only.
        self._alive.append(alive)
        return len(self._alive) - 1


def xxh3(text: bytes) -> int:
    """XXH3-64 of ``text``, as ids hashes strings, but not signed."""
    return int(native.xxh3(text))


def _count(view: Flat, ranges: Ranges | None) -> int:
    return view.length if ranges is None else ranges.total


def _pair(ranges: Ranges | None) -> tuple[Offsets | None, Offsets | None]:
    return (None, None) if ranges is None else (ranges.starts, ranges.offsets)
