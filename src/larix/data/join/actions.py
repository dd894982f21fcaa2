"""Accepted actions: those that the watermark has not passed wait here; the others are kept for saves.

A save holds actions as they came, and not what they did: that is a function of them. Knows nothing of impressions.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.data.join import panes
from larix.data.join.kept import Kept
from larix.data.join.spec import END
from larix.data.join.store import Store, Stored

Ints = NDArray[np.int64]

_MERGED = 1 << 14  # rows from which on a run is left alone


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Actions: their times, keys (strings by hash), ids (int64 or strings), kinds by number, and values."""

    times: Ints
    keys: Ints
    ids: Ints | pa.Array
    kinds: NDArray[np.int8]
    values: NDArray[np.float64]

    def take(self, places: Ints | slice) -> Self:
        """Some of them."""
        if isinstance(self.ids, np.ndarray):
            ids = self.ids[places]
        elif isinstance(places, slice):
            ids = self.ids[places.start : places.stop]
        else:
            ids = self.ids.take(pa.array(places))
        return type(self)(
            times=self.times[places],
            keys=self.keys[places],
            ids=ids,
            kinds=self.kinds[places],
            values=self.values[places],
        )

    @classmethod
    def concat(cls, parts: "list[Self]") -> Self:
        """All of them in a row; at least one part."""
        if len(parts) == 1:
            return parts[0]
        ids = [part.ids for part in parts]
        return cls(
            times=np.concatenate([part.times for part in parts]),
            keys=np.concatenate([part.keys for part in parts]),
            ids=np.concatenate(ids) if isinstance(ids[0], np.ndarray) else pa.concat_arrays(ids),
            kinds=np.concatenate([part.kinds for part in parts]),
            values=np.concatenate([part.values for part in parts]),
        )

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return sum(getattr(self, name).nbytes for name in ("times", "keys", "ids", "kinds", "values"))

    def to_batch(self) -> pa.RecordBatch:
        """As columns of a file."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return pa.record_batch(
            {name: each if isinstance(each, pa.Array) else pa.array(each) for name, each in columns.items()}
        )

    @classmethod
    def from_batch(cls, batch: pa.RecordBatch) -> Self:
        """As columns of a file gave them."""
        given: dict[str, Any] = {name: batch.column(name).to_numpy() for name in _COLUMNS if name != "ids"}
        ids = batch.column("ids")
        return cls(**given, ids=ids if pa.types.is_string(ids.type) else ids.to_numpy())


_COLUMNS = ("times", "keys", "ids", "kinds", "values")


class Actions:
    """Runs of actions, each in order of time."""

    def __init__(self, window_ms: int, store: Store) -> None:
        self._window_ms, self._store = window_ms, store
        self._runs: list[_Run] = []

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return sum(run.kept.nbytes for run in self._runs)

    @property
    def oldest(self) -> int:
        """The time of the first that the watermark has not passed; END if there is none."""
        return min((run.next for run in self._runs), default=END)

    def add(self, rows: Rows, *, write: bool) -> None:
        """These were accepted, at least one; ``write``: begin to write them, for they will be saved soon."""
        self._runs.append(_Run(rows.take(panes.by_time(rows.times)), None))
        while len(self._runs) > 1 and self._runs[-2].joins(self._runs[-1]):
            self._merge()
        if write and self._runs[-1].count >= _MERGED:
            self._runs[-1].kept.begin(self._store)

    def restore(self, rows: Rows, file: Stored) -> None:
        """These were there when ``file`` was saved, which holds them."""
        self._runs.append(_Run(rows, file))

    def due(self, watermark: int) -> Rows | None:
        """Those that the watermark has passed since the last call, by time, id and kind."""
        parts = [part for run in self._runs if (part := run.due(watermark)) is not None]
        if not parts:
            return None
        rows = Rows.concat(parts)
        return rows.take(panes.order(rows.times, rows.ids, rows.kinds.astype(np.int64)))

    def forget(self, watermark: int) -> None:
        """Actions that can have no impression any more need not be saved."""
        live = [run for run in self._runs if run.newest + self._window_ms >= watermark]
        if len(live) < len(self._runs):
            for run in set(self._runs).difference(live):
                run.kept.drop(self._store)
            self._runs = live

    def spill(self) -> int:
        """Move a run to the disk; return the bytes set free, 0 if there is none to move."""
        for run in self._runs:
            if run.kept.nbytes:
                return run.spill(self._store)
        return 0

    def save(self) -> list[Stored]:
        """The files that hold all actions; those not held yet are written."""
        for run in self._runs:
            run.kept.begin(self._store)
        files = [run.kept.file(self._store) for run in self._runs]
        for run in self._runs:
            if run.kept.nbytes and run.next == END:
                run.spill(self._store)
        return files

    def _merge(self) -> None:
        newer, older = self._runs.pop(), self._runs.pop()
        for run in (older, newer):
            run.kept.drop(self._store)
        rows = Rows.concat([older.rows, newer.rows])
        merged = _Run(rows.take(panes.by_time(rows.times)), None)
        # What the watermark has passed is what comes first in both, and so it is in both together.
        merged.passed = older.passed + newer.passed
        self._runs.append(merged)


class _Run:
    """Actions in order of time; the watermark has passed the first ``passed``."""

    def __init__(self, rows: Rows, file: Stored | None) -> None:
        self.rows = rows
        self.kept = Kept("actions", rows.to_batch(), file=file)
        self.count, self.newest = len(rows.times), int(rows.times[-1])
        self.passed = 0

    @property
    def next(self) -> int:
        return END if self.passed == self.count else int(self.rows.times[self.passed])

    def joins(self, newer: "_Run") -> bool:
        return self.count <= 2 * newer.count and self.count + newer.count <= _MERGED

    def due(self, watermark: int) -> Rows | None:
        if self.next >= watermark:
            return None
        begin = self.passed
        self.passed = int(np.searchsorted(self.rows.times, watermark))
        return self.rows.take(slice(begin, self.passed))

    def spill(self, store: Store) -> int:
        freed = self.kept.spill(store)
        self.rows = Rows.from_batch(self.kept.read(store))
        return freed
