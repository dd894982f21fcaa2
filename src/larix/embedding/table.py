"""The parameter store: tables of rows by 64-bit id, in memory and on disk, run by the native core.

Checks every argument, so that the core need not. Knows nothing of torch.
"""

import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from larix import _native
from larix.batch import Batch, Floats, Ids
from larix.embedding import check, core, follow, snapshot, storage
from larix.embedding.budget import sketch_bytes
from larix.embedding.changes import Changes, Touched
from larix.embedding.cold import folder_of
from larix.embedding.layout import Buffer, Layout
from larix.embedding.lookup import Lookup, Stats
from larix.embedding.shard import Shard
from larix.embedding.snapshot import Instant, Piece, Snapshot, UInts
from larix.embedding.spec import TableSpec
from larix.errors import ConfigError, StorageError


class Tables:
    """Many named tables of rows; each (table, id) pair has a row of its own, whatever the 64 bits of the id.

    ``specs``: one a table. ``seed``: with table and id it decides a row's first weights. ``threads``: how
    many work on a large call, 0 = one a core; results are bit-equal for any number. Calls from several
    threads are safe: they are done one after the other, the GIL released. Tables of equal dim,
    precision and optimizer share an index.

    ``memory_budget``, in bytes or as ``"4GiB"``, is what rows, index and admission sketches may take. When it is used
    up, rows of tables with an eviction policy make room for those born; an id for whose row there is no room reads its
    table's default and counts as refused. Rows of tables without a policy stay: if it is one of theirs that finds no room,
    the call that met it raises ConfigError, with all else done. ``background``: rows are evicted ahead of need by a
    thread, some hundred microseconds at a time; False: in slices at the end of training calls, so that one worker, told
    the same, does the same, bit for bit.

    ``cold``: a folder, of this store alone, where rows go instead that find no room in memory, of any table, with state
    and all; they come back when they are asked for. It is scratch: rows of an earlier process in there are removed. Rows
    that do not even fit for one call raise ConfigError; a disk that fails raises StorageError, and no row is lost.
    """

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
        self._numbers = {name: number for number, name in enumerate(self.specs, 1)}
        self._dims = {name: spec.dim for name, spec in self.specs.items()}
        kinds = list(dict.fromkeys(map(core.kind_of, self.specs.values())))
        pools = list(dict.fromkeys(spec.eviction for spec in self.specs.values()))
        self.memory_budget = check.budget(
            memory_budget,
            lambda limit: _native.Store.least_bytes(len(kinds), limit) + sketch_bytes(self.specs.values()),
        )
        self._core = _native.Store(
            [
                (dim, _native.Precision[precision], core.optimizer_of(optimizer))
                for dim, precision, optimizer in kinds
            ],
            [
                (
                    kinds.index(core.kind_of(spec)),
                    *core.birth_of(spec, seed),
                    spec.default,
                    core.admission_of(spec.admission),
                    core.policy_of(spec.eviction, pools.index(spec.eviction), cold is not None),
                )
                for spec in self.specs.values()
            ],
            check.threads(threads),
            self.memory_budget or 0,
            background,
        )
        self._cold = folder_of(cold, self.memory_budget)
        if self._cold is not None:
            self._core.open_tier(str(self._cold))
        self.history = uuid.uuid4().hex
        self.origin: Instant | None = None
        self._plans = core.Plans(self._dims)

    def __len__(self) -> int:
        """Rows of all tables."""
        return sum(self.rows(table) for table in self.specs)

    @property
    def steps(self) -> int:
        """How many times ``update`` or ``apply`` were called, which schedules go by; settable, to go on from a save."""
        return self._core.steps()

    @steps.setter
    def steps(self, steps: int) -> None:
        self._core.set_steps(check.steps(steps))

    def rows(self, table: str) -> int:
        """Rows of one table."""
        return int(self._core.rows(self._number(table)))

    def lookup(self, table: str, ids: Ids, *, insert: bool = False, out: Floats | None = None) -> Floats:
        """Return the weights of ``ids``: float32 ``[n, dim]``, written into ``out`` if given.

        An id without a row gets one with ``insert``, if its table admits it; without, it reads the table's default and
        counts as missing.
        """
        number, ids = self._number(table), check.ids(ids)
        shape = (len(ids), self._dims[table])
        out = np.empty(shape, np.float32) if out is None else out
        check.floats(out, shape, "out", writable=True)
        self._housed(self._core.lookup(number, ids, out, insert))
        return out

    def update(
        self, table: str, ids: Ids, grads: Floats, *, lr_scale: float = 1.0, clicks: Floats | None = None
    ) -> None:
        """Step the rows of ``ids`` by ``grads`` float32 ``[n, dim]``, repeated ids summed first.

        ``lr_scale`` multiplies the optimizer's lr, as its schedule does. ``clicks`` float32 ``[n]``: how often each was
        clicked, for tables that evict by FeatureScore. A gradient to an id without a row counts as lost.
        """
        number, ids = self._number(table), check.ids(ids)
        check.floats(grads, (len(ids), self._dims[table]), "grads")
        self._core.update(number, ids, grads, check.scale(lr_scale), check.clicks(clicks, len(ids)))

    def gather(self, layout: Layout, batch: Batch, outs: Sequence[Buffer], *, insert: bool = True) -> Lookup:
        """Look up all slots of a batch in one native call; vectors go into ``outs``, one a layout output.

        ``outs`` are C-contiguous, of the shapes and types the layout gives. The handles are for ``apply``.
        ConfigError for a layout or buffer that does not fit, DataError for ids that do not; nothing is done
        then.
        """
        plan = self._plans.of(layout)
        check.buffers(layout, batch.size, outs, writable=True)
        jaggeds = check.slots(layout, batch)
        parts = [(jagged.values, jagged.offsets, jagged.weights) for jagged in jaggeds]
        handles = np.empty(sum(len(values) for values, _, _ in parts), np.uint64)
        outcome = self._core.gather(plan, parts, list(outs), batch.size, handles, insert)
        if outcome < 0:
            check.offsets(layout, jaggeds)
            raise AssertionError("the core refused offsets that are sound")
        self._housed(outcome)
        return Lookup(layout, batch, handles, self)

    def apply(
        self,
        lookup: Lookup,
        grads: Sequence[Buffer],
        *,
        lr_scale: float = 1.0,
        clicks: Floats | None = None,
    ) -> None:
        """Step the rows of a lookup by ``grads``, shaped as its ``outs``: each row once, by their sum.

        Sums run in order of slots and ids. Gradients whose row is gone, or was never there, count as lost. ``clicks``
        float32 ``[size]``: how often each sample was clicked. Every id of a sample is a show of its row, and brings the
        sample's clicks with it: see ``FeatureScore``.
        """
        plan = self._plans.of(lookup.layout)
        check.buffers(lookup.layout, lookup.batch.size, grads, writable=False)
        parts = [
            (jagged.values, jagged.offsets, jagged.weights)
            for jagged in check.slots(lookup.layout, lookup.batch)
        ]
        handles = lookup.handles if lookup.store is self else np.full_like(lookup.handles, ~np.uint64(0))
        size = lookup.batch.size
        clicked = check.clicks(clicks, size)
        self._core.apply(plan, parts, list(grads), size, handles, check.scale(lr_scale), clicked)

    def keys(self, table: str) -> Ids:
        """Return all ids of a table, rising."""
        keys: Ids = self._core.keys(self._number(table))
        keys.sort()
        return keys

    def read(self, table: str, ids: Ids) -> tuple[Floats, Floats]:
        """Return weights ``[n, dim]`` and state ``[n, s]`` of ``ids``; zeros for an id without a row."""
        number, ids = self._number(table), check.ids(ids)
        weights = np.empty((len(ids), self._dims[table]), np.float32)
        state = np.empty((len(ids), self.specs[table].state), np.float32)
        self._core.read(number, ids, weights, state)
        return weights, state

    def items(self, table: str) -> tuple[Ids, Floats, Floats]:
        """Return all ids (rising), weights ``[n, dim]`` and state ``[n, s]`` of a table."""
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
        """Make the rows of ``ids`` what is given, new ones too, admitted or not; of a repeated id the last counts.

        ``seen`` uint32 ``[n]``: when they were last seen (default: now); ``score`` float32 ``[n]``. ConfigError if not
        all find room in the memory budget; those that do are there then.
        """
        number, ids = self._number(table), check.ids(ids)
        check.floats(weights, (len(ids), self._dims[table]), "weights")
        check.floats(state, (len(ids), self.specs[table].state), "state")
        check.metadata(len(ids), seen, score)
        self._housed(self._core.put(number, ids, weights, state, seen, score))

    def remove(self, table: str, ids: Ids) -> int:
        """Take rows away and return how many there were; an id seen again is born again."""
        return int(self._core.remove(self._number(table), check.ids(ids)))

    @property
    def sequence(self) -> int:
        """The current sequence number: what changes now is marked with it."""
        return self._core.times()[0]

    @property
    def kept(self) -> int | None:
        """The sequence number since whose end changes are known; None before the first ``cut``."""
        _, kept, tracked, _, _ = self._core.times()
        return kept if tracked else None

    def cut(self) -> int:
        """End the sequence number, if anything happened in it, and return the last that has ended.

        All changes so far are in numbers up to it, later ones in greater. From the first call on it is
        noted what changes; a store that is never cut pays nothing.
        """
        return self._core.cut()

    def changes(self, since: int) -> Changes:
        """Return all that changed after the end of ``since``, at one instant, which ends the sequence number.

        ConfigError if ``since`` is older than what is kept: begin with a snapshot then.
        """
        found = self._core.changes(check.whole(since))
        if found is None:
            check.since(since, self.sequence, self.kept)
            raise AssertionError("the core refused changes that it keeps")
        times, tables = found
        touched = {
            spec.name: Touched(*_piece(spec, ids, weights, state, seen, score)[1:], removed=removed)
            for spec, (ids, weights, state, seen, score, removed) in zip(
                self.specs.values(), tables, strict=True
            )
        }
        return Changes(first=since + 1, instant=self._instant(times), specs=dict(self.specs), tables=touched)

    def forget(self, upto: int) -> None:
        """Let go what only changes since before ``upto`` need."""
        if not self._core.forget(check.whole(upto)):
            check.ended(upto, self.sequence)

    def snapshot(self, *, memory: int = 128 << 20, folder: str | Path | None = None) -> Snapshot:
        """Return all rows as they are now, to be iterated while calls of other threads go on changing them.

        ``memory``: bytes that copies may take; what changes faster than it is read goes to a file without a
        name in ``folder`` (default: where temporary files go), at most as large as the tables. Use it as a
        context manager. StorageError while iterating if the disk there is full.
        """
        if memory < 1 << 12:
            raise ConfigError(f"memory is {memory} bytes; a snapshot needs {1 << 12} or more")
        folder = str(tempfile.gettempdir() if folder is None else folder)
        core = self._core.snapshot(memory, snapshot.PIECE_BYTES, folder)
        pieces = self._pieces(core, folder)
        return Snapshot(self.specs, self.seed, self._instant(core.instant()), pieces, core.close, core.bytes)

    def resume(self, instant: Instant, *, tracked: bool = False) -> None:
        """Stand at ``instant`` from now on: what was put so far is the state it names; for those who load.

        ``tracked``: note what changes from here on. ConfigError if rows have changed later than that.
        """
        fits = self._core.resume(instant.sequence, instant.steps, instant.clock, tracked)
        check.resumed(fits, instant.sequence)
        self.origin = instant

    def save(self, folder: str | Path) -> None:
        """Write all tables as they are now to ``folder`` as one version: see ``storage.save``."""
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
        """Return the store saved in ``folder`` by ``save`` or a ``DeltaLog``, optionally with changed settings.

        ``shard``: with the rows of that part of all ids alone. See ``storage.load``.
        """
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

    def borrow_threads(self, team: int) -> None:
        """Run calls on the threads of ``team`` from now on; 0: on the store's own again. Results are the same.

        ``team`` is the address of a C function ``void (void (*work)(void *), void *data, unsigned count, unsigned flags)``
        that calls ``work(data)`` on up to ``count`` threads and returns when all have: OpenMP's ``GOMP_parallel`` is one. Two
        teams on the same cores fight, as the one that has just finished spins for more work.
        """
        self._core.borrow(team)

    @property
    def clock(self) -> int:
        """The store's time, by which rows age: the number of training lookups, until it is set.

        Whoever sets it does so from then on: ``tables.clock = int(time.time())``. From 0 to ``2**32 - 1``.
        """
        return self._core.clock()

    @clock.setter
    def clock(self, now: int) -> None:
        self._core.set_clock(check.clock(now))

    def stats(self) -> Stats:
        """Return what the store holds and has done."""
        return core.stats_of(self._core, self._cold is not None)

    def _instant(self, times: tuple[int, int, int]) -> Instant:
        sequence, steps, clock = times
        return Instant(history=self.history, sequence=sequence, steps=steps, clock=clock)

    def _pieces(self, core: _native.Snapshot, folder: str) -> Iterator[Piece]:
        specs = list(self.specs.values())
        try:
            while (found := core.next()) is not None:
                number, ids, weights, state, seen, score = found
                yield _piece(specs[number - 1], ids, weights, state, seen, score)
        except OSError as error:
            raise StorageError(
                f"the snapshot is given up: what changed meanwhile cannot be kept in '{folder}': "
                f"{error.strerror}; name a folder with more room, or give it more memory"
            ) from error

    def _housed(self, short_of: int) -> None:
        if short_of:
            raise ConfigError(
                f"rows that may not be evicted need {short_of} bytes more than the memory budget; give a larger "
                f"memory_budget, or an eviction policy to more tables"
            )

    def _number(self, table: str) -> int:
        check.known(table, self.specs)
        return self._numbers[table]


def _piece(spec: TableSpec, ids: Ids, weights: Floats, state: Floats, seen: UInts, score: Floats) -> Piece:
    shape = (len(ids), spec.dim), (len(ids), spec.state)
    return Piece(spec.name, ids, weights.reshape(shape[0]), state.reshape(shape[1]), seen, score)
