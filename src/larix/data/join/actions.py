"""Accepted actions: those that the watermark has not passed wait here; the others are kept for saves.

A save holds actions as they came, and not what they did: that is a function of them. Knows nothing of impressions.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.data.join import panes
from larix.data.join.spec import END
from larix.data.join.store import File, Store

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
        return sum(run.rows.nbytes for run in self._runs if run.rows is not None and not run.mapped)

    def add(self, rows: Rows, file: File | None = None) -> None:
        """These were accepted; ``file`` is what holds them already."""
        if not len(rows.times):
            return
        if file is None:  # what a file holds is in order
            rows = rows.take(panes.by_time(rows.times))
        self._runs.append(_Run(rows, file))
        while len(self._runs) > 1 and self._runs[-2].joins(self._runs[-1]):
            self._merge()

    def due(self, watermark: int) -> Rows | None:
        """Those that the watermark has passed since the last call, by time, id and kind."""
        parts = [part for run in self._runs if (part := run.due(watermark)) is not None]
        if not parts:
            return None
        rows = Rows.concat(parts)
        return rows.take(panes.order(rows.times, rows.ids, rows.kinds.astype(np.int64)))

    @property
    def oldest(self) -> int:
        """The time of the first that the watermark has not passed; END if there is none."""
        return min((run.next for run in self._runs), default=END)

    def forget(self, watermark: int) -> None:
        """Actions that can have no impression any more need not be saved."""
        gone = [run for run in self._runs if run.newest + self._window_ms < watermark]
        if gone:
            for run in gone:
                if run.file is not None:
                    self._store.drop(run.file)
            self._runs = [run for run in self._runs if run.newest + self._window_ms >= watermark]

    def spill(self) -> int:
        """Move a run's rows to the disk; return the bytes set free, 0 if there are none to move."""
        for run in self._runs:
            if run.rows is not None and not run.mapped:
                size = run.rows.nbytes
                self._keep(run)
                return size
        return 0

    def save(self) -> list[File]:
        """The files that hold all actions; those not held yet are written."""
        for run in self._runs:
            if run.file is None:
                assert run.rows is not None
                run.file = self._store.keep("actions", run.rows.to_batch())
            run.release()
        return [run.file for run in self._runs if run.file is not None]

    def _keep(self, run: "_Run") -> None:
        assert run.rows is not None
        if run.file is None:
            run.file = self._store.keep("actions", run.rows.to_batch())
        run.rows, run.mapped = Rows.from_batch(self._store.read(run.file)), True
        run.release()

    def _merge(self) -> None:
        newer, older = self._runs.pop(), self._runs.pop()
        assert older.rows is not None
        assert newer.rows is not None
        for run in (older, newer):
            if run.file is not None:
                self._store.drop(run.file)
        rows = Rows.concat([older.rows, newer.rows])
        # Both begin with what the watermark has passed, and so does the run of both, for it is in order too.
        merged = _Run(rows.take(panes.by_time(rows.times)), None)
        merged.passed = older.passed + newer.passed
        self._runs.append(merged)


class _Run:
    """Actions in order of time, the first ``passed`` of which the watermark has passed; rows None: all, and a file has them."""

    def __init__(self, rows: Rows, file: File | None) -> None:
        self.rows: Rows | None = rows
        self.file, self.mapped = file, file is not None
        self.count, self.newest = len(rows.times), int(rows.times[-1])
        self.passed = 0

    def joins(self, newer: "_Run") -> bool:
        if self.rows is None or newer.rows is None or self.mapped or newer.mapped:
            return False
        return self.count <= 2 * newer.count and self.count + newer.count <= _MERGED

    def due(self, watermark: int) -> Rows | None:
        if self.rows is None or self.passed == self.count:
            return None
        begin = self.passed
        self.passed = int(np.searchsorted(self.rows.times, watermark))
        part = self.rows.take(slice(begin, self.passed)) if self.passed > begin else None
        self.release()
        return part

    @property
    def next(self) -> int:
        return END if self.rows is None or self.passed == self.count else int(self.rows.times[self.passed])

    def release(self) -> None:
        if self.passed == self.count and self.file is not None:
            self.rows = None
