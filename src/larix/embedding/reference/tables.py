"""The oracle's tables: what ``table.Tables`` does, one plain step after the other. The native store gives the same bits."""
# ruff: noqa: D102 - the docstrings stand once, in table.py

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from larix.batch import Batch, Floats, Ids
from larix.embedding import check, follow, precision, storage
from larix.embedding.admission import ByChance, ByCount
from larix.embedding.budget import sketch_bytes
from larix.embedding.changes import Changes, Touched
from larix.embedding.cold import folder_of
from larix.embedding.layout import Buffer, Layout
from larix.embedding.lookup import Lookup, Stats
from larix.embedding.reference import room
from larix.embedding.reference.admit import drawn
from larix.embedding.reference.evict import gain
from larix.embedding.reference.pool import owners, pool_rows, spread
from larix.embedding.reference.rows import REFUSED, Places, Rows
from larix.embedding.reference.track import Track
from larix.embedding.shard import Shard
from larix.embedding.snapshot import Instant, Snapshot, UInts, even_pieces
from larix.embedding.spec import TableSpec


class Tables:
    """Many named tables, with the methods, arguments and errors of ``larix.embedding.Tables``."""

    def __init__(
        self,
        specs: Sequence[TableSpec],
        *,
        seed: int = 0,
        threads: int = 0,
        memory_budget: int | str | None = None,
        cold: str | Path | None = None,
        background: bool = True,
    ) -> None:
        self.specs = check.specs(specs)
        self.seed = seed
        check.threads(threads)
        self.memory_budget = check.budget(memory_budget, lambda _: sketch_bytes(self.specs.values()))
        self._tiered = (
            folder_of(cold, self.memory_budget) is not None
        )  # what others keep on disk stays in memory
        self._track = Track()
        self._tables = {name: Rows(spec, seed, self._track) for name, spec in self.specs.items()}
        self._lookups = self._inserted = self._missing = self._refused = self._lost = self._evicted = 0
        self._calls = 0

    @property
    def history(self) -> str:
        return self._track.history

    @property
    def origin(self) -> Instant | None:
        return self._track.origin

    @property
    def sequence(self) -> int:
        return self._track.sequence

    @property
    def kept(self) -> int | None:
        return self._track.kept

    @property
    def steps(self) -> int:
        return self._track.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self._track.steps = check.steps(steps)

    @property
    def clock(self) -> int:
        return self._track.clock

    @clock.setter
    def clock(self, now: int) -> None:
        self._track.set_clock(now)

    def __len__(self) -> int:
        return sum(self.rows(table) for table in self.specs)

    def rows(self, table: str) -> int:
        return len(self._table(table).places)

    def lookup(self, table: str, ids: Ids, *, insert: bool = False, out: Floats | None = None) -> Floats:
        ids = check.ids(ids)
        found = self._table(table)
        out = np.empty((len(ids), found.spec.dim), np.float32) if out is None else out
        check.floats(out, (len(ids), found.spec.dim), "out", writable=True)
        if insert:
            self._meet({table: ids})
        out[:] = found.weights(self._places(found, ids, insert))
        return out

    def update(
        self, table: str, ids: Ids, grads: Floats, *, lr_scale: float = 1.0, clicks: Floats | None = None
    ) -> None:
        ids = check.ids(ids)
        found = self._table(table)
        check.floats(grads, (len(ids), found.spec.dim), "grads")
        check.scale(lr_scale)
        given = check.clicks(clicks, len(ids))
        clicked = np.zeros(len(ids), np.float32) if given is None else given
        gains = gain(found.spec.eviction, clicked)
        self._lost += found.apply(found.find(ids), grads, lr_scale, gains)
        self._track.step()

    def gather(self, layout: Layout, batch: Batch, outs: Sequence[Buffer], *, insert: bool = True) -> Lookup:
        layout.check({name: spec.dim for name, spec in self.specs.items()})
        check.buffers(layout, batch.size, outs, writable=True)
        jaggeds = check.slots(layout, batch)
        check.offsets(layout, jaggeds)
        if insert:
            met: dict[str, list[Ids]] = {}
            for slot, jagged in zip(layout.slots, jaggeds, strict=True):
                met.setdefault(slot.table, []).append(jagged.values)
            self._meet({name: np.concatenate(parts) for name, parts in met.items()})
        handles = []
        for slot, jagged in zip(layout.slots, jaggeds, strict=True):
            table = self._tables[slot.table]
            places = self._places(table, jagged.values, insert)
            view = outs[slot.output][..., slot.column : slot.column + table.spec.dim]
            if layout.outputs[slot.output].bf16:
                pooled = np.empty(view.shape, np.float32)
                pool_rows(slot.pool, jagged, table.weights(places), pooled)
                view[:] = precision.bf16_of(pooled)
            else:
                pool_rows(slot.pool, jagged, table.weights(places), view)
            handles.append(places.view(np.uint64))
        return Lookup(layout, batch, np.concatenate([np.zeros(0, np.uint64), *handles]), self)

    def apply(
        self,
        lookup: Lookup,
        grads: Sequence[Buffer],
        *,
        lr_scale: float = 1.0,
        clicks: Floats | None = None,
    ) -> None:
        size = lookup.batch.size
        check.buffers(lookup.layout, size, grads, writable=False)
        check.scale(lr_scale)
        given = check.clicks(clicks, size)
        clicked = np.zeros(size, np.float32) if given is None else given
        gathered: dict[str, list[tuple[Places, Floats, Floats]]] = {}
        start = 0
        for slot, jagged in zip(lookup.layout.slots, check.slots(lookup.layout, lookup.batch), strict=True):
            places = lookup.handles[start : start + len(jagged.values)].view(np.int64)
            start += len(jagged.values)
            if lookup.store is not self:
                places = np.full_like(places, -1)
            dim = self.specs[slot.table].dim
            view = grads[slot.output][..., slot.column : slot.column + dim]
            if lookup.layout.outputs[slot.output].bf16:
                view = precision.widened(view)
            kept, each = spread(slot.pool, jagged, view)
            policy, of = self.specs[slot.table].eviction, clicked[owners(jagged)[kept]]
            gains = gain(policy, of, slot.pool == "sequence")
            gathered.setdefault(slot.table, []).append((places[kept], each, gains))
        for name, parts in gathered.items():
            places, each, gains = (np.concatenate(part) for part in zip(*parts, strict=True))
            self._lost += self._tables[name].apply(places, each, lr_scale, gains)
        self._track.step()

    def keys(self, table: str) -> Ids:
        return np.sort(np.fromiter(self._table(table).places, np.int64))

    def read(self, table: str, ids: Ids) -> tuple[Floats, Floats]:
        found = self._table(table)
        rows = found.read(found.find(check.ids(ids)))
        return rows[:, : found.spec.dim].copy(), rows[:, found.spec.dim :].copy()

    def items(self, table: str) -> tuple[Ids, Floats, Floats]:
        ids = self.keys(table)
        return ids, *self.read(table, ids)

    def put(
        self,
        table: str,
        ids: Ids,
        weights: Floats,
        state: Floats,
        *,
        seen: UInts | None = None,
        score: Floats | None = None,
    ) -> None:
        ids = check.ids(ids)
        found = self._table(table)
        check.floats(weights, (len(ids), found.spec.dim), "weights")
        check.floats(state, (len(ids), found.spec.state), "state")
        check.metadata(len(ids), seen, score)
        self._make_room({table: ids[found.find(ids) < 0]}, {table: ids}, must=True)
        found.insert(ids)
        places = found.find(ids)
        found.touch(places)
        weights = precision.nearest(found.spec.precision, weights)
        found.rows[places] = np.concatenate([weights, state], axis=1)
        if seen is not None:
            found.seen[places] = seen
        if score is not None:
            found.score[places] = score

    def remove(self, table: str, ids: Ids) -> int:
        return self._table(table).drop(check.ids(ids))

    def cut(self) -> int:
        return self._track.cut()

    def forget(self, upto: int) -> None:
        self._track.forget(upto)

    def changes(self, since: int) -> Changes:
        check.since(since, self._track.sequence, self._track.kept)
        touched = {
            name: Touched(*rows.piece(rows.since(since))[1:], removed=rows.gone(since))
            for name, rows in self._tables.items()
        }
        return Changes(first=since + 1, instant=self._track.end(), specs=dict(self.specs), tables=touched)

    def snapshot(self, *, memory: int = 128 << 20, folder: str | Path | None = None) -> Snapshot:
        tables = [rows.piece(np.fromiter(rows.places, np.int64)) for rows in self._tables.values()]
        pieces = (part for piece in tables for part in even_pieces([piece]))
        return Snapshot(self.specs, self.seed, self._track.end(), pieces)

    def resume(self, instant: Instant, *, tracked: bool = False) -> None:
        self._track.resume(instant, tracked)

    def save(self, folder: str | Path) -> None:
        storage.save(self, folder)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        specs: Sequence[TableSpec] | None = None,
        shard: Shard | None = None,
        threads: int = 0,
        memory_budget: int | str | None = None,
        cold: str | Path | None = None,
        background: bool = True,
    ) -> Self:
        return follow.load(
            folder,
            lambda found, seed: cls(
                found,
                seed=seed,
                threads=threads,
                memory_budget=memory_budget,
                cold=cold,
                background=background,
            ),
            specs,
            shard,
        )

    def stats(self) -> Stats:
        return Stats(
            rows=len(self),
            bytes=self._bytes(),
            lookups=self._lookups,
            hits=self._lookups - self._inserted - self._missing - self._refused,
            inserted=self._inserted,
            missing=self._missing,
            refused=self._refused,
            lost=self._lost,
            evicted=self._evicted,
        )

    def _table(self, name: str) -> Rows:
        check.known(name, self.specs)
        return self._tables[name]

    def _bytes(self) -> int:
        return sketch_bytes(self.specs.values()) + sum(table.bytes for table in self._tables.values())

    def _meet(self, ids: Mapping[str, Ids]) -> None:
        """A call of training meets ``ids``: all its ids without a row are counted, then admitted, then given one."""
        self._calls += 1
        self._track.tick()
        for table in self._tables.values():
            self._evicted += room.expire(table, self._track.clock)
        new = {}
        for name, met in ids.items():
            table = self._tables[name]
            without = met[table.find(met) < 0]
            match table.spec.admission:
                case None:
                    new[name] = without
                case ByChance() as policy:
                    new[name] = without[drawn(policy, table.key, without, self._calls)]
                case ByCount(n=least):
                    assert table.sketch is not None
                    table.sketch.add(without)
                    new[name] = without[table.sketch.estimate(without) >= least]
                    table.sketch.age()
        for name, kept in self._make_room(new, ids).items():
            before = len(self._tables[name].places)
            self._tables[name].insert(kept)
            self._inserted += len(self._tables[name].places) - before

    def _make_room(
        self, new: Mapping[str, Ids], held: Mapping[str, Ids], must: bool = False
    ) -> dict[str, Ids]:
        """Evict rows, none of the ids ``held``, until ``new`` fit in the budget; return those that do.

        ConfigError if tables that nothing is evicted from do not fit (``must``: if any does not).
        """
        unique = {name: np.array(list(dict.fromkeys(ids.tolist())), np.int64) for name, ids in new.items()}
        if self.memory_budget is None or self._tiered:
            return unique
        budget = self.memory_budget - sketch_bytes(self.specs.values())
        evicted, kept = room.make(self._tables, budget, unique, held, self._track.clock, must)
        self._evicted += evicted
        return kept

    def _places(self, table: Rows, ids: Ids, insert: bool) -> Places:
        self._lookups += len(ids)
        places = table.find(ids)
        without = int(np.count_nonzero(places < 0))
        if insert:
            places[places < 0] = REFUSED
            self._refused += without
        else:
            self._missing += without
        return places
