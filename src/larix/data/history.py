"""The strictly past: for each row of a log, the rows of the same key with an earlier time.

Knows nothing of files, of columns' names or of what the rows mean. Rows at the same time are not each
other's past.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.errors import DataError

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Where every row's past lies, in one order of all rows that is sorted by (key, time, row).

    ``order``: int64 ``[n]``, row numbers in that order. ``start``, ``stop``: int64 ``[n]``, indexed by row:
    the past of row ``i`` is ``order[start[i]:stop[i]]``, oldest first, equal times in row order. Rows
    without a key have no past.
    """

    order: Numbers
    start: Numbers
    stop: Numbers

    def counts(self, flags: NDArray[np.generic] | None = None) -> NDArray[np.int32]:
        """How many past rows each row has, int32 ``[n]``; with ``flags`` (0 or 1), how many set ones."""
        if flags is None:
            return (self.stop - self.start).astype(np.int32)
        before = np.zeros(len(self.order) + 1, dtype=np.int64)
        np.cumsum(flags[self.order], dtype=np.int64, out=before[1:])
        return (before[self.stop] - before[self.start]).astype(np.int32)

    def lists(self, rows: Numbers, newest: int) -> tuple[Numbers, NDArray[np.int32]]:
        """The newest past rows of each of ``rows``: one flat array of row numbers, offsets ``[rows + 1]``."""
        stop = self.stop[rows]
        start = np.maximum(self.start[rows], stop - newest)
        lengths = stop - start
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        if offsets[-1] > np.iinfo(np.int32).max:
            raise DataError(
                f"{len(rows)} rows have {offsets[-1]} past rows, more than a list array holds; ask for fewer"
            )
        ranks = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], lengths)
        return self.order[ranks], offsets.astype(np.int32)


def past(key: Numbers, time: Numbers, *, known: NDArray[np.bool_] | None = None) -> Past:
    """Find each row's past.

    Args:
        key: int64 ``[n]``, whose history a row belongs to; any value.
        time: int64 ``[n]``, in any unit; rows need not be sorted.
        known: bool ``[n]``; where False the row has no key: it has no past and is nobody's past.
    """
    n = len(key)
    if len(time) != n:
        raise DataError(f"there are {n} keys but {len(time)} times; give one of each for a row")
    rows = np.arange(n) if known is None else np.flatnonzero(known)
    order = rows[np.lexsort((time[rows], key[rows]))]
    sorted_key, sorted_time = key[order], time[order]
    new_key = np.ones(len(order), dtype=bool)
    new_key[1:] = sorted_key[1:] != sorted_key[:-1]
    new_time = new_key.copy()
    new_time[1:] |= sorted_time[1:] != sorted_time[:-1]
    start = np.zeros(n, dtype=np.int64)
    stop = np.zeros(n, dtype=np.int64)
    start[order] = _last_true(new_key)
    stop[order] = _last_true(new_time)
    return Past(order, start, stop)


def repeats(*columns: Numbers) -> NDArray[np.bool_]:
    """Tell the rows that equal an earlier row in all ``columns`` (each int64 ``[n]``): bool ``[n]``."""
    order = np.lexsort(columns[::-1])  # stable, so the first of equal rows comes first
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for column in columns:
        values = column[order]
        same &= values[1:] == values[:-1]
    found = np.zeros(len(order), dtype=bool)
    found[order[1:]] = same
    return found


def list_array(values: pa.Array, offsets: NDArray[np.int32]) -> pa.ListArray:
    """Make a list column of flat ``values`` and ``offsets`` ``[rows + 1]``."""
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def among(lists: pa.ListArray, others: pa.ListArray) -> pa.ListArray:
    """For each element of row r of ``lists``, int8 1 where it stands in row r of ``others`` too, else 0.

    Both are int64 lists without nulls, of as many rows.
    """
    left, right = lists.flatten().to_numpy(), others.flatten().to_numpy()
    _, codes = np.unique(np.concatenate([left, right]), return_inverse=True)
    span = int(codes.max(initial=0)) + 1
    rows = [np.repeat(np.arange(len(both)), both.value_lengths().to_numpy()) for both in (lists, others)]
    keys = np.concatenate(rows) * span + codes  # one number for a row and an element
    found = np.isin(keys[: len(left)], keys[len(left) :])
    offsets = np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy())]).astype(np.int32)
    return list_array(pa.array(found.astype(np.int8)), offsets)


def _last_true(flags: NDArray[np.bool_]) -> Numbers:
    """For each position, that of the last set flag at or before it."""
    return np.maximum.accumulate(np.where(flags, np.arange(len(flags)), 0))
