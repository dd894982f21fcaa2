"""What a serving process holds: tables that any number of threads read while they are brought up to date.

Its own door to the native core: checks every argument. Knows nothing of optimizers, and nothing of who sends changes.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, get_args

import numpy as np
from numpy.typing import NDArray

from larix import _native
from larix.batch import Batch, Floats, Ids
from larix.embedding import check, follow, storage
from larix.embedding.changes import Changes
from larix.embedding.layout import Layout
from larix.embedding.levels import Levels, LevelStats
from larix.embedding.precision import nearest
from larix.embedding.quantize import Format
from larix.embedding.reading import Questions, Reading
from larix.embedding.snapshot import Instant, Snapshot
from larix.embedding.spec import TableSpec
from larix.errors import ConfigError


def _build() -> str:
    about = Path(_native.__file__).stat()
    return f"{about.st_size} {about.st_mtime_ns}"


BUILD = _build()  # of the native core, read when it was loaded: another may keep rows otherwise
_FORMATS = {precision: number for number, precision in enumerate(get_args(Format))}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaStats:
    """What a replica holds and has done since it was made.

    ``rows`` of all tables; ``bytes``: memory of rows and index, with what is kept to be used again. ``lookups``
    and ``missing`` (ids without a row) are counted by id, repeats included. ``sequence``: see ``Replica``. ``levels``: of a
    replica that has them. ``shared``: of the bytes, those that other processes can have, too; see ``freeze``.
    """

    rows: int
    bytes: int
    lookups: int
    missing: int
    sequence: int
    levels: LevelStats | None = None
    shared: int = 0


class Replica:
    """Weights of many tables, to be read only: no optimizer state, and in fewer bits if asked for.

    ``specs``: the tables; of each, name, dim and what is read of an id without a row count. ``precision``: what
    weights are kept as, see ``quantize.encode``. ``threads``: how many share a large call, if no other call has
    them just then; for many threads that each make calls of their own, 1 is best.

    Any number of threads may read at once; no lock is taken, and none waits for another or for the writer. Each
    call reads one version of all tables: the newest when it began, whole deltas only; ``reading`` holds one over
    several calls. ``apply`` and ``replace`` make the next version beside the one that is read: for that time the rows
    they change take memory twice. Then they, not the readers, wait for calls and readings of the version before to end.

    A row takes ``quantize.row_bytes`` (dim 16: fp32 64, bf16 and fp16 32, int8 20) and 20 to 27 bytes of index.

    With ``levels`` only some rows are hot, which is to say whole in memory; see ``Levels`` for what the others read as.
    A row has one level in one version: changes that are applied leave it there, new rows are hot while there is room,
    and ``adapt`` moves rows by their use.

    ``instant`` is the state that it shows, None at first; ``sequence`` the last sequence number in it, 0 at first. ``image``:
    the descriptor of the memory that other processes can have its rows in, -1 if there is none; see ``freeze``.
    """

    def __init__(
        self,
        specs: Sequence[TableSpec],
        *,
        precision: Format = "fp32",
        threads: int = 1,
        levels: Levels | None = None,
    ) -> None:
        self.specs = check.specs(specs)
        if precision not in _FORMATS:
            raise ConfigError(f"precision is {precision!r}; it must be one of {list(_FORMATS)}")
        self.precision: Format = precision
        self.levels = levels
        if levels is not None:
            levels.check(precision)
        self.instant: Instant | None = None
        self._questions = Questions(self.specs)
        self._core = _native.Replica(
            _FORMATS[precision],
            [(spec.dim, _default_of(spec)) for spec in self.specs.values()],
            check.threads(threads),
            None
            if levels is None
            else (str(Path(levels.folder).absolute()), levels.bytes, levels.cold == "int8"),
        )
        self.image = -1
        self._writing = threading.Lock()
        self._instants: dict[int, Instant | None] = {
            0: None
        }  # by the core's number of a version that may be read
        self._readers: dict[int, int] = {}  # the threads of the readings that are open

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        precision: Format = "fp32",
        threads: int = 1,
        levels: Levels | None = None,
    ) -> Self:
        """Return a replica of what ``Tables.save`` or a ``DeltaLog`` wrote to ``folder``, at its newest state."""
        folder = Path(folder)
        if not follow.numbers(folder, "base"):
            saved = storage.read(folder)
            replica = cls(list(saved.specs.values()), precision=precision, threads=threads, levels=levels)
            replica.replace(saved)
            return replica
        log = follow.Follower(folder)
        replica = cls(log.newest_specs(), precision=precision, threads=threads, levels=levels)
        replica.replace(log.base)
        for changes in log.poll():
            replica.apply(changes)
        return replica

    def __len__(self) -> int:
        """Rows of all tables."""
        return self._core.counts()[0]

    @property
    def sequence(self) -> int:
        """The last sequence number whose changes are shown."""
        return 0 if self.instant is None else self.instant.sequence

    def rows(self, table: str) -> int:
        """Rows of one table."""
        return self._core.rows(self._questions.number(table))

    def keys(self, table: str) -> Ids:
        """Return all ids of a table, rising."""
        keys = self._core.keys(self._questions.number(table))
        keys.sort()
        return keys

    def lookup(self, table: str, ids: Ids, *, out: Floats | None = None) -> Floats:
        """Return the weights of ``ids``: float32 ``[n, dim]``, written into ``out`` if given.

        An id without a row reads its table's default row and counts as missing. StorageError if a cold row cannot be
        read from disk; what ``out`` holds is anything then, and the next call may do better.
        """
        return self._questions.lookup(self._core, table, ids, out)

    def gather(self, layout: Layout, batch: Batch, outs: Sequence[Floats]) -> Ids:
        """Look up all slots of a batch in one version, pooled as by ``Tables.gather`` with ``insert=False``.

        ``outs`` are C-contiguous float32 of the shapes the layout gives. Returns how many ids had no row: int64
        ``[slots]``, in the order of the layout. ConfigError for a layout or buffer that does not fit, DataError for
        ids that do not; nothing is done then. StorageError as with ``lookup``.
        """
        return self._questions.gather(self._core, layout, batch, outs)

    def reading(self) -> Reading:
        """Hold one version of all tables over several calls: the newest when ``with`` begins, whatever is applied meanwhile.

        ``with replica.reading() as rows: rows.gather(...); rows.lookup(...); rows.instant``. As with a single call no
        lock is taken and nobody is waited for. But the next ``apply`` or ``replace``, though at once seen by whoever
        begins after it, does not return before the reading has ended, nor does the one after it begin: keep it as
        short as a request's lookups.
        """
        return Reading(self._core, self._questions, self._instants, self._readers)

    def apply(self, changes: Changes) -> bool:
        """Show the state at ``changes.last``; return False, with nothing done, if it is shown already.

        Tables that the replica was not made with are passed over. StorageError if changes are missing in
        between, ConfigError if a table has another dim; the replica shows what it did then.
        """
        with self._version(changes.specs) as fresh:
            if not changes.follows(self.sequence):
                return False
            for name, touched in changes.tables.items():
                if name in self.specs:
                    self._core.remove(self._questions.number(name), check.ids(touched.removed))
                    self._put(name, touched.ids, touched.weights)
            fresh.append(changes.instant)
        return True

    def replace(self, snapshot: Snapshot, *, like: "Replica | None" = None) -> None:
        """Show the state of ``snapshot`` in place of all rows. Tables and errors as with ``apply``.

        Rows take memory twice until calls on the old ones have ended. ``like``: another replica with levels, in whose place
        this one is to step: of the rows that are new here those are hot that are so there, and count as used as much.
        """
        with self._version(snapshot.specs) as fresh:
            self._core.clear()
            for piece in snapshot:
                if piece.table in self.specs:
                    self._put(piece.table, piece.ids, piece.weights, like)
            fresh.append(snapshot.instant)

    def adapt(self, most: int = 65536) -> int:
        """Make rows hot that are used more than some that are, in place of those; return how many were moved.

        To be called every second or so by whoever applies changes. Readers note the use of one lookup in 13; the counts
        are halved whenever ten have been noted for each hot row. No more than about ``most`` rows become hot in a call,
        as a version of its own: what readers see is the same state. StorageError if the disk fails; all rows stay where
        they are then.
        """
        if self.levels is None:
            return 0
        with self._version({}) as fresh:
            if moved := self._core.adapt(most):
                fresh.append(self.instant)
        return moved

    def freeze(self, stamp: bytes, between: Callable[[], object] = lambda: None) -> None:
        """Move all rows and their index into memory that other processes can have, too: `image`, for their `adopt`.

        To be called before anything is read. The memory is never written to again: a row that changes is put beside it and its
        chunk of the index (32 KiB) copied, so that the replica stays this process's own. What is replaced there is not used
        again. ``stamp``: 32 bytes that say what the rows are. ``between``: called after some milliseconds of work each.
        ConfigError for a replica with levels. StorageError if the system has no such memory, or none left: the replica shows what
        it did, and is this process's alone.
        """
        if self.levels is not None:
            raise ConfigError("rows on levels cannot be shared among processes; make the replica without")
        with self._writing:
            self.image = self._core.freeze(stamp, between)

    def adopt(self, descriptor: int, stamp: bytes, instant: Instant) -> None:
        """Show the rows of another process's `image` as the state at ``instant``, in a replica that has shown none yet.

        The caller keeps the descriptor. StorageError for what is no image, is damaged, has another stamp or other tables than
        this replica, or was made by another build; nothing has changed then.
        """
        if self.levels is not None or self._core.version():
            raise ConfigError("only a new replica without levels can take over the rows of another process")
        with self._version({}) as fresh:
            self.image = self._core.adopt(descriptor, stamp)
            fresh.append(instant)

    def hot(self, table: str, ids: Ids) -> NDArray[np.bool_]:
        """Return of each id whether it has a row that is hot: all rows of a replica without levels are."""
        with self.reading() as rows:
            return rows.hot(table, ids)

    def stats(self) -> ReplicaStats:
        """Return what the replica holds and has done."""
        rows, size, lookups, missing, hot, hot_bytes, cold, promoted, demoted, disk, shared = (
            self._core.counts()
        )
        levels = LevelStats(
            hot_rows=hot,
            hot_bytes=hot_bytes,
            cold_rows=max(0, rows - hot),  # counted one after the other
            disk_bytes=disk,
            hot_hits=lookups - missing - cold,
            cold_hits=cold,
            promoted=promoted,
            demoted=demoted,
        )
        return ReplicaStats(
            rows=rows,
            bytes=size,
            lookups=lookups,
            missing=missing,
            sequence=self.sequence,
            levels=None if self.levels is None else levels,
            shared=shared,
        )

    @contextmanager
    def _version(self, theirs: Mapping[str, TableSpec]) -> Iterator[list[Instant | None]]:
        """One writer's turn: what it puts is shown if it says of which instant it is, and undone if it fails."""
        for name in self.specs.keys() & theirs.keys():
            if theirs[name].dim != self.specs[name].dim:
                raise ConfigError(
                    f"table '{name}' has dim {theirs[name].dim} but the replica's has {self.specs[name].dim}; "
                    f"load a new replica"
                )
        if threading.get_ident() in list(self._readers.values()):
            raise ConfigError(
                "this thread has a reading of the replica open, which would wait for itself; end it first"
            )
        fresh: list[Instant | None] = []
        with self._writing:
            former, failed = self._core.version(), True
            try:
                yield fresh
                if fresh:
                    self._instants[former + 1] = fresh[0]
                    self._core.publish()
                failed = False
            finally:
                if self._core.version() > former:
                    self.instant = fresh[0]
                    del self._instants[former]  # nobody reads it any more
                elif failed:
                    self._core.abandon()
                    self._instants.pop(former + 1, None)

    def _put(self, table: str, ids: Ids, weights: Floats, like: "Replica | None" = None) -> None:
        ids = check.ids(ids)
        check.floats(weights, (len(ids), self.specs[table].dim), f"weights of table '{table}'")
        heat = None
        if like is not None and like.levels is not None and table in like.specs:
            with like.reading() as rows:
                heat = rows.heat(table, ids)
        self._core.put(self._questions.number(table), ids, weights, heat)


def _default_of(spec: TableSpec) -> float:
    """Every weight of the default row, as training reads it."""
    return float(nearest(spec.precision, np.array([spec.default], np.float32))[0])
