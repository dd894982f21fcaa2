"""Which events were here before, by id, for as long as a copy of them would not be late. Knows nothing of kinds."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from larix.data.join import panes
from larix.data.join.index import Index
from larix.data.join.mapped import held, mapped
from larix.data.join.spec import NEVER

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Seen:
    """Ids of accepted events (int64; strings by their hash) and their times; panes of ``width_ms`` are forgotten whole."""

    def __init__(self, width_ms: int) -> None:
        self._width_ms = max(width_ms, 1000)
        self._panes: dict[panes.Key, _Pane] = {}

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return sum(pane.nbytes for pane in self._panes.values())

    def spill(self, folder: Path) -> int:
        """Move a pane to the disk; return the bytes set free, 0 if there is none to move."""
        return next((pane.spill(folder) for pane in self._panes.values() if pane.nbytes), 0)

    def admit(self, ids: Ints, times: Ints, bounds: Ints) -> Mask:
        """Which events are no copies, in order; they are remembered.

        A copy has the id of an accepted event whose time would not have been late beside it, that is, below its bound.
        """
        known = np.full(len(ids), NEVER, np.int64)
        for pane in self._panes.values():
            for places, entries in pane.index.pairs(ids):
                known[places] = np.maximum(known[places], pane.times[entries])
        fresh: Mask = (known < bounds) | (known == NEVER)
        ordered = np.sort(ids)
        repeated = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(repeated):
            rows = np.flatnonzero(np.isin(ids, repeated))
            fresh[rows] = _one_by_one(*(each[rows].tolist() for each in (ids, times, bounds, known)))
        self.remember(ids.compress(fresh), times.compress(fresh))
        return fresh

    def remember(self, ids: Ints, times: Ints) -> None:
        """These were accepted."""
        if not len(ids):
            return
        for key, rows in panes.split(times, self._width_ms):
            pane = self._panes.setdefault(key, _Pane())
            pane.add(*((ids, times) if rows is None else (ids[rows], times[rows])))

    def forget(self, watermark: int) -> None:
        """Events before it are late whatever their id."""
        self._panes = {key: pane for key, pane in self._panes.items() if pane.newest >= watermark}


class _Pane:
    def __init__(self) -> None:
        self.index = Index()
        self.times = np.empty(0, np.int64)
        self.newest = NEVER

    @property
    def nbytes(self) -> int:
        return self.index.nbytes + held(self.times)

    def spill(self, folder: Path) -> int:
        freed = self.nbytes
        self.index.spill(folder)
        self.times = mapped(self.times, folder)
        return freed

    def add(self, ids: Ints, times: Ints) -> None:
        first = self.index.count
        self.index.add(ids)
        if self.index.count > len(self.times):
            self.times = np.resize(self.times, max(self.index.count, 2 * first))
        self.times[first : self.index.count] = times
        self.newest = max(self.newest, int(times.max()))


def _one_by_one(ids: list[int], times: list[int], bounds: list[int], known: list[int]) -> list[bool]:
    """`admit`, where an id comes more than once."""
    latest: dict[int, int] = {}
    fresh = []
    for id_, at, bound, before in zip(ids, times, bounds, known, strict=True):
        newest = latest.setdefault(id_, before)
        fresh.append(newest < bound or newest == NEVER)
        if fresh[-1]:
            latest[id_] = max(newest, at)
    return fresh
