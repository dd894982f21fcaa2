"""Spans of event time that are dropped as one, and an order of events by time that no cut of the input changes."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Key = tuple[int, int]  # a pane's width in milliseconds, and its number

_MOST = 64  # panes that one call makes


def split(times: Ints, width_ms: int) -> Iterator[tuple[Key, Ints | None]]:
    """The panes in which times lie, and the places of those that do; None: all. Wider ones where they would be many."""
    low, high = int(times.min()), int(times.max())
    while high // width_ms - low // width_ms >= _MOST:
        width_ms *= 2
    if low // width_ms == high // width_ms:
        yield (width_ms, low // width_ms), None
        return
    numbers = times // width_ms
    for number in np.unique(numbers).tolist():
        yield (width_ms, number), np.flatnonzero(numbers == number)


def order(times: Ints, *thens: Ints | pa.Array) -> Ints:
    """The places of events by time; those of one time by the first of ``thens``, and so on. Strings go by their bytes."""
    if len(times) < 2:
        return np.arange(len(times))
    if (times[1:] > times[:-1]).all():
        return np.arange(len(times))
    tied: Ints | None = None
    columns: list[Ints] = []
    for then in thens:
        if isinstance(then, np.ndarray):
            columns.append(then)
            continue
        if tied is None:
            tied = _tied(times)
        ranks = np.zeros(len(times), np.int64)
        if len(tied):
            ranks[tied] = pc.rank(then.take(pa.array(tied)), tiebreaker="dense").to_numpy()
        columns.append(ranks)
    return np.asarray(np.lexsort((*reversed(columns), times)), np.int64)


def _tied(times: Ints) -> Ints:
    """The places of times that occur more than once."""
    by_time = np.argsort(times, kind="stable")
    same = times[by_time][1:] == times[by_time][:-1]
    tied: Ints = by_time[np.append(same, False) | np.insert(same, 0, False)]
    return tied
