"""Impressions whose window is open: where those of a key are, what their labels came to, and their columns until they are due.

They lie in panes of event time, each with an index by key. The columns are what is large: they may be on the disk.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.data.join import panes
from larix.data.join.carried import Carried
from larix.data.join.index import Index
from larix.data.join.kept import Kept
from larix.data.join.mapped import held, mapped
from larix.data.join.spec import END, JoinSpec
from larix.data.join.store import Store, Stored

Ints = NDArray[np.int64]
Places = NDArray[np.int32]

SHARE = 0.75  # of a batch's rows, from which on the rest is not worth a copy
_KIND = "impressions"
_MERGED = 1 << 14  # rows from which on a chunk is left alone
_SPARSE = 4  # rows a row that is wanted, from which on they are taken one by one


class Part(NamedTuple):
    """Some rows of a chunk, by place."""

    chunk: "Chunk"
    places: Places


class Met(NamedTuple):
    """Actions, by place, and the impressions they belong to: entries of a pane."""

    actions: Ints
    pane: "Pane"
    entries: Places


class Impressions:
    """All of them. A row is given out once, by `due`; it stays for actions (at once) until its window has passed."""

    def __init__(self, spec: JoinSpec, carried: Carried, store: Store) -> None:
        self._window_ms, self._labels = spec.window_ms, len(spec.labels)
        self._delay_ms = spec.window_ms if spec.emit == "end" else 0
        self._width_ms = max(spec.window_ms // 2, 1000)
        self._carried, self._store = carried, store
        self._panes: dict[panes.Key, Pane] = {}

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        chunks = (chunk for pane in self._panes.values() for chunk in pane.chunks)
        return sum(pane.nbytes for pane in self._panes.values()) + sum(
            chunk.columns.nbytes for chunk in chunks
        )

    def add(self, rows: pa.RecordBatch, at: Ints | None, keys: Ints, times: Ints, *, write: bool) -> None:
        """These were accepted.

        Args:
            rows: a batch with their columns.
            at: where they are in it; None: they are all of it.
            keys: of each; of strings, the hashes.
            times: of each.
            write: begin to write them to the disk, for they will be saved soon.
        """
        for key, places in panes.split(times, self._width_ms):
            pane = self._pane(key)
            if places is None:
                pane.add(*_own(rows, at), keys, times)
            else:
                pane.add(*_own(rows, places if at is None else at[places]), keys[places], times[places])
            while len(pane.chunks) > 1 and pane.chunks[-2].joins(pane.chunks[-1]):
                self._merge(pane)
            if write and pane.chunks[-1].large:
                pane.chunks[-1].columns.begin(self._store)

    def restore(self, key: panes.Key, file: Stored, rows: pa.RecordBatch, keys: Ints, times: Ints) -> None:
        """These were in that pane when ``file`` was saved, which holds them."""
        self._pane(key).add(rows, None, keys, times, file)

    def match(self, keys: Ints, times: Ints) -> Iterator[Met]:
        """Which actions, in order of time, belong to which impressions. Of one impression they come in one `Met`, in order."""
        for pane in self._panes.values():
            begin, end = np.searchsorted(times, [pane.oldest, pane.newest + self._window_ms + 1])
            if begin == end:
                continue
            for places, entries in pane.index.pairs(keys[begin:end]):
                actions = places + begin
                after = times[actions] - pane.times[entries]
                good = (after >= 0) & (after <= self._window_ms)
                if good.all():
                    yield Met(actions, pane, entries)
                elif good.any():
                    yield Met(actions[good], pane, entries[good])

    def due(self, watermark: int) -> list[Part]:
        """What became final as a sample since the last call."""
        parts = []
        for pane in self._panes.values():
            for chunk in pane.chunks:
                if chunk.next + self._delay_ms < watermark:
                    parts.append(Part(chunk, chunk.tell(watermark - self._delay_ms)))
        return parts

    def gather(self, parts: list[Part], places: Ints) -> pa.RecordBatch:
        """The columns of rows; ``places`` number all rows of the parts, one part after the other."""
        pieces, numbers, count = [], [], 0
        for chunk, rows in parts:
            columns, at = chunk.columns.find(self._store, rows)
            low, high = int(at.min()), int(at.max()) + 1
            if high - low > _SPARSE * len(at):
                piece, number = columns.take(pa.array(at)), np.arange(len(at))
            else:
                piece, number = columns.slice(low, high - low), at - np.int64(low)
            pieces.append(self._carried.out(piece))
            numbers.append(number + count)
            count += len(piece)
        at = pa.array(np.concatenate(numbers)[places])
        return joined(pieces).take(at)

    def column(self, parts: list[Part], name: str) -> Ints | pa.Array:
        """One column of all rows of the parts: keys, times or ids; int64 or strings."""
        found = []
        for chunk, rows in parts:
            columns, at = chunk.columns.find(self._store, rows)
            found.append(columns.column(name).take(pa.array(at)))
        column = found[0] if len(found) == 1 else pa.concat_arrays(found)
        return column if pa.types.is_string(column.type) else column.to_numpy()

    def forget(self, watermark: int) -> None:
        """No action belongs to those whose window has passed."""
        for key, pane in [*self._panes.items()]:
            if pane.oldest + self._window_ms >= watermark:
                continue
            live = [chunk for chunk in pane.chunks if chunk.newest + self._window_ms >= watermark]
            for chunk in set(pane.chunks).difference(live):
                chunk.columns.drop(self._store)
            pane.chunks = live
            if not pane.chunks:
                del self._panes[key]

    def spill(self) -> int:
        """Move columns to the disk, those that are due last; return the bytes set free, 0 if there are none to move."""
        chunks = [chunk for pane in self._panes.values() for chunk in pane.chunks if chunk.columns.nbytes]
        return max(chunks, key=lambda chunk: chunk.newest).columns.spill(self._store) if chunks else 0

    def spill_index(self) -> int:
        """The same of what finds them, the oldest first: few actions look there yet."""
        there = [pane for pane in self._panes.values() if pane.nbytes]
        return min(there, key=lambda pane: pane.oldest).spill(self._store.folder) if there else 0

    def save(self) -> list[tuple[panes.Key, Stored]]:
        """The files that hold all impressions, and the panes they are of; those not held yet are written."""
        chunks = [(key, chunk.columns) for key, pane in self._panes.items() for chunk in pane.chunks]
        for _, columns in chunks:
            columns.begin(self._store)
        return [(key, columns.file(self._store)) for key, columns in chunks]

    def _pane(self, key: panes.Key) -> "Pane":
        pane = self._panes.get(key)
        if pane is None:
            pane = self._panes[key] = Pane(key, self._labels)
        return pane

    def _merge(self, pane: "Pane") -> None:
        newer, older = pane.chunks.pop(), pane.chunks.pop()
        rows = joined([self._carried.out(chunk.columns.read(self._store)) for chunk in (older, newer)])
        # What was given out comes first in both, and so it does in both together.
        merged = Chunk(pane, older.first, len(rows), Kept(_KIND, rows), told=older.told + newer.told)
        for chunk in (older, newer):
            chunk.columns.drop(self._store)
        pane.chunks.append(merged)


class Pane:
    """Impressions of a span of event time. An entry of the index has a time and the states of its labels."""

    def __init__(self, key: panes.Key, labels: int) -> None:
        width, number = key
        self.oldest, self.newest = width * number, width * (number + 1) - 1  # that may be
        self.index = Index()
        self.times = np.empty(0, np.int64)
        self.states = np.zeros((0, labels))
        self.chunks: list[Chunk] = []

    @property
    def nbytes(self) -> int:
        """Of all but columns."""
        return self.index.nbytes + held(self.times, self.states) + sum(chunk.nbytes for chunk in self.chunks)

    def spill(self, folder: Path) -> int:
        """Move it to the disk, until it grows; return the bytes set free."""
        freed = self.nbytes
        for chunk in self.chunks:
            chunk.forget_order()
        self.index.spill(folder)
        self.times, self.states = mapped(self.times, folder), mapped(self.states, folder)
        return freed

    def add(
        self, rows: pa.RecordBatch, at: Places | None, keys: Ints, times: Ints, file: Stored | None = None
    ) -> None:
        """Its next entries, a chunk of their own."""
        first = self.index.count
        self.index.add(keys)
        if self.index.count > len(self.times):
            size = max(self.index.count, 2 * first)
            self.times = np.concatenate([self.times[:first], np.empty(size - first, np.int64)])
            self.states = np.concatenate(
                [self.states[:first], np.zeros((size - first, self.states.shape[1]))]
            )
        self.times[first : self.index.count] = times
        self.chunks.append(Chunk(self, first, len(times), Kept(_KIND, rows, at, file)))

    def parts(self, entries: Places) -> tuple[list[Part], Ints]:
        """The rows of entries, and where each entry is among all rows of the parts."""
        firsts = np.array([chunk.first for chunk in self.chunks])
        owners = np.searchsorted(firsts, entries, side="right") - 1
        by_owner = np.argsort(owners, kind="stable")
        parts = []
        for number in np.unique(owners).tolist():
            chunk = self.chunks[number]
            parts.append(Part(chunk, entries[by_owner][owners[by_owner] == number] - np.int32(chunk.first)))
        where = np.empty(len(entries), np.int64)
        where[by_owner] = np.arange(len(entries))
        return parts, where


class Chunk:
    """The columns of entries ``first``, ``first + 1``, ...; by time, the first ``told`` of them were given out."""

    def __init__(self, pane: Pane, first: int, count: int, columns: Kept, told: int = 0) -> None:
        self.pane, self.first, self.count = pane, first, count
        self.columns, self.told = columns, told
        self._order: Places | None = None
        order = self._by_time()
        self.newest = int(self._times[order[-1]])
        self.next = END if told == count else int(self._times[order[told]])

    @property
    def nbytes(self) -> int:
        """Of all but its columns."""
        return 0 if self._order is None else self._order.nbytes

    @property
    def states(self) -> NDArray[np.float64]:
        """(rows, labels)."""
        return self.pane.states[self.first : self.first + self.count]

    def tell(self, before: int) -> Places:
        """Give out the rows with times before that; in order."""
        order, begin = self._by_time(), self.told
        times = self._times[order[begin:]]
        self.told = begin + int(np.searchsorted(times, before))
        self.next = END
        if self.told < self.count:
            self.next = int(times[self.told - begin])
        else:
            self.forget_order()
        return order[begin : self.told]

    def forget_order(self) -> None:
        """Work it out again when it is wanted."""
        self._order = None

    def _by_time(self) -> Places:
        if self._order is None:
            self._order = panes.by_time(self._times).astype(np.int32)
        return self._order

    @property
    def _times(self) -> Ints:
        return self.pane.times[self.first : self.first + self.count]

    @property
    def large(self) -> bool:
        """Whether it will stay as it is."""
        return self.count >= _MERGED

    def joins(self, newer: "Chunk") -> bool:
        """Whether both are small enough to be one."""
        return self.count <= 2 * newer.count and self.count + newer.count <= _MERGED


def joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of one schema as one."""
    if len(batches) == 1:
        return batches[0]
    (batch,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return batch


def _own(rows: pa.RecordBatch, at: Ints | None) -> tuple[pa.RecordBatch, Places | None]:
    """A batch and where rows are in it, without many others."""
    if at is None or len(at) <= len(rows) * SHARE:
        return rows if at is None else rows.take(pa.array(at)), None
    return rows, at.astype(np.int32)
