"""A store's log on disk: a base, and the deltas since, for recovery and for those who follow from other processes.

Knows nothing of how a store keeps its rows; ``follow.py`` reads what is written here.
"""

import fcntl
import shutil
from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import IO, Any

import numpy as np

from larix.embedding import follow, manifest, storage, tensors
from larix.embedding.changes import Changes, combine
from larix.embedding.follow import Follower, path_of
from larix.embedding.snapshot import Instant, Piece, Snapshot, even_pieces
from larix.embedding.store import Store
from larix.errors import ConfigError, StorageError

_FILE = "rows.safetensors"


class DeltaLog:
    """The folder that a store writes its changes to, a version each ``append``: whole on disk or not there.

    If ``tables`` was loaded from the end of the log, or wrote it, the log goes on where it stands; otherwise
    it begins anew with a base, and who follows it is told to load that. One log object may write to a folder
    at a time. ``keep``: how many bases stay, with the deltas since the oldest of them.
    """

    def __init__(self, folder: str | Path, tables: Store, *, keep: int = 2) -> None:
        if keep < 1:
            raise ConfigError(f"keep is {keep}; a log keeps at least 1 base")
        self.folder = Path(folder)
        self._tables, self._keep = tables, keep
        self._lock = _locked(self.folder)
        for stale in self.folder.glob(".*.new"):
            shutil.rmtree(stale, ignore_errors=True)
        self._number, self._instant = self._end()
        if self._instant is None:
            self._begin()
        self._prune()

    @property
    def instant(self) -> Instant:
        """The newest state that the log holds."""
        assert self._instant is not None
        return self._instant

    def append(self) -> Path | None:
        """Write what has changed since the log's newest state, synced, and return where; None if nothing has.

        It is a delta, or a base if the store no longer knows all that changed since. StorageError if the
        disk is full or fails: nothing is lost then, the next append holds these changes, too.
        """
        try:
            changes = self._tables.changes(self.instant.sequence)
        except ConfigError:  # not asked first: rows are evicted behind the scenes, it may let go at any time
            kept = self._tables.kept
            if kept is not None and kept <= self.instant.sequence:
                raise
            return self._begin()
        if not changes.follows(self.instant.sequence):
            return None
        path = path_of(self.folder, "delta", self._number + 1)
        write_delta(path, changes)
        self._number, self._instant = self._number + 1, changes.instant
        return path

    def compact(self) -> None:
        """Write the newest base and the deltas since as a new base, then let go what is older than ``keep`` bases.

        The store is not asked: this may run beside training and ``append``, on another thread. Who follows
        the log notices nothing, unless it is further behind than the oldest base that is kept.
        """
        follower = Follower(self.folder)
        changes = list(follower.poll())
        if not changes:
            return
        pieces = _compacted(follower.base, combine(changes))
        merged = Snapshot(follower.specs, follower.seed, follower.instant, pieces)
        storage.write(merged, path_of(self.folder, "base", follower.number))
        self._prune()

    def close(self) -> None:
        """Let another log object write to the folder."""
        self._lock.close()

    def _end(self) -> tuple[int, Instant | None]:
        """The last number used, and its state if the store stands there or came from there."""
        bases, deltas = (follow.numbers(self.folder, kind) for kind in ("base", "delta"))
        newest = max([*bases, *deltas], default=0)
        if not newest:
            return 0, None
        if newest in deltas:
            _, specs, instant = follow.told(path_of(self.folder, "delta", newest))
        else:
            base = storage.read(path_of(self.folder, "base", newest))
            specs, instant = base.specs, base.instant
        rows, ours = (list(map(follow.row_of, each.values())) for each in (specs, self._tables.specs))
        kept, origin = self._tables.kept, self._tables.origin
        continued = instant.history == self._tables.history or instant.same_state(origin)
        if bases and continued and kept is not None and kept <= instant.sequence and rows == ours:
            return newest, instant
        return newest, None

    def _begin(self) -> Path:
        self._tables.cut()  # from here on changes are kept
        path = path_of(self.folder, "base", self._number + 1)
        instant = storage.save(self._tables, path)
        self._number, self._instant = self._number + 1, instant
        return path

    def _prune(self) -> None:
        bases = follow.numbers(self.folder, "base")
        oldest = bases[-self._keep :][0]
        gone = [path_of(self.folder, "base", number) for number in bases if number < oldest]
        deltas = follow.numbers(self.folder, "delta")
        gone += [path_of(self.folder, "delta", number) for number in deltas if number <= oldest]
        for path in gone:
            aside = path.with_name(f".{path.name}.new")
            path.rename(aside)  # half removed it is no version any more
            shutil.rmtree(aside, ignore_errors=True)


def write_delta(path: Path, changes: Changes) -> None:
    """Write changes to the folder ``path``: one safetensors file with ``TABLE/ids`` and so on, and a manifest.

    StorageError if the disk is full or fails; nothing is left then.
    """
    touched = {name: of for name, of in changes.tables.items() if len(of.ids) or len(of.removed)}
    columns = {f"{name}/removed": tensors.Tensor("I64", of.removed) for name, of in touched.items()}
    for name, of in touched.items():
        parts = storage.columns(of.piece(name), changes.specs[name])
        columns |= {f"{name}/{column}": tensor for column, tensor in parts.items()}

    def fill(fresh: Path) -> dict[str, Any]:
        return {
            "format": follow.DELTA_FORMAT,
            "first": changes.first,
            "instant": changes.instant.to_json(),
            "specs": [spec.to_json() for spec in changes.specs.values()],
            "tables": {
                name: {"rows": len(of.ids), "removed": len(of.removed)} for name, of in touched.items()
            },
            "rows": {"file": _FILE, "sha256": tensors.write(fresh / _FILE, columns)},
        }

    manifest.write(path, fill)


def _compacted(base: Snapshot, changes: Changes) -> Iterator[Piece]:
    """The rows of ``base`` that stayed as they were and then those that changed, table by table."""
    new = {name: of.piece(name) for name, of in changes.tables.items()}
    away = {name: of.named() for name, of in changes.tables.items()}
    for name, pieces in groupby(base, lambda piece: piece.table):
        stayed = (piece.take(stay) for piece in pieces if (stay := ~np.isin(piece.ids, away[name])).any())
        yield from even_pieces(chain(stayed, [new.pop(name)]))
    for piece in new.values():
        yield from even_pieces([piece])


def _locked(folder: Path) -> IO[str]:
    """Make the folder and hold its lock as long as the file returned is open."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise StorageError(f"'{folder}' cannot be written: {error.strerror}; choose another place") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise StorageError(
            f"another log writes to '{folder}'; close it or end its process, or choose another folder"
        ) from error
    return lock
