"""Reading a folder that a ``DeltaLog`` writes: the newest base, the deltas since, and new ones as they come.

Needs numpy and no store: works in any process, beside the one that writes. Knows nothing of writing.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from larix.embedding import check, manifest, storage, tensors
from larix.embedding.changes import Changes, Touched, combine, fold
from larix.embedding.shard import Shard
from larix.embedding.snapshot import Instant, Piece, Snapshot, joined
from larix.embedding.spec import TableSpec
from larix.errors import StorageError

DELTA_FORMAT = 2
_NAME = re.compile(r"(base|delta)-(\d{10})")


def path_of(folder: Path, kind: str, number: int) -> Path:
    """Where the base or delta with this number is or would be.

    Bases and deltas are states in the order of their writing: ``delta`` n leads from state n - 1 to state n,
    ``base`` n is all of state n.
    """
    return folder / f"{kind}-{number:010}"


def numbers(folder: Path, kind: str) -> list[int]:
    """Numbers of the bases or deltas that are there, rising."""
    found = (_NAME.fullmatch(path.name) for path in folder.glob(f"{kind}-*"))
    return sorted(int(match[2]) for match in found if match)


def read_delta(path: Path) -> Changes:
    """Return the changes that a delta holds. StorageError names a damaged file."""
    body, specs, instant = told(path)
    with manifest.told_by(f"'{path / manifest.NAME}'"):
        first, counts = operator.index(body["first"]), dict(body["tables"])
        file, sha256 = manifest.beside(path, body["rows"]["file"]), body["rows"]["sha256"]
        if not (specs.keys() >= counts.keys() and 1 <= first <= instant.sequence + 1):
            raise ValueError(f"it is of {sorted(counts)}, from {first} to {instant.sequence}")
    arrays = tensors.read(file, sha256)
    tables = {name: nothing_of(spec) for name, spec in specs.items()}
    with manifest.told_by(f"'{file}'"):
        for name, count in counts.items():
            piece = storage.piece_of(arrays, specs[name], count["rows"], f"{name}/")
            removed = tensors.column(arrays, f"{name}/removed", np.int64, (count["removed"],))
            tables[name] = Touched(*piece[1:], removed=removed)
    return Changes(first=first, instant=instant, specs=specs, tables=tables)


def told(path: Path) -> tuple[dict[str, Any], dict[str, TableSpec], Instant]:
    """Return what the manifest of a delta says, its tables, and of which state it is; StorageError as with ``read_delta``."""
    body = manifest.read(path, (DELTA_FORMAT,))
    with manifest.told_by(f"'{path / manifest.NAME}'"):
        specs = check.specs([TableSpec.from_json(given) for given in body["specs"]])
        return body, specs, Instant.from_json(body["instant"])


def row_of(spec: TableSpec) -> tuple[str, int, int, str]:
    """What must stay the same in a log."""
    return spec.name, spec.dim, spec.state, spec.precision


def nothing_of(spec: TableSpec) -> Touched:
    """No changes of one table."""
    return Touched(
        ids=np.zeros(0, np.int64),
        weights=np.zeros((0, spec.dim), np.float32),
        state=np.zeros((0, spec.state), np.float32),
        seen=np.zeros(0, np.uint32),
        score=np.zeros(0, np.float32),
        removed=np.zeros(0, np.int64),
    )


class Follower:
    """The rows of a store as its log tells them: begin with ``base`` or ``rows``, go on with ``poll``.

    ``specs``, ``seed`` and ``instant`` are those of the newest state that was read. StorageError if there is
    no base, or if a file is damaged (it is named).
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        bases = numbers(self.folder, "base")
        if not bases:
            raise StorageError(f"'{self.folder}' has no base; is this the folder of a DeltaLog?")
        self.number = bases[-1]
        self.base: Snapshot = storage.read(path_of(self.folder, "base", self.number))
        self.specs, self.seed, self.instant = self.base.specs, self.base.seed, self.base.instant

    def poll(self) -> Iterator[Changes]:
        """Yield the changes of deltas that are new since the last poll, the oldest first; none if there are none.

        StorageError if the next one is gone while later ones are there: begin again with a new ``Follower``,
        which reads a newer base.
        """
        while (path := path_of(self.folder, "delta", self.number + 1)).exists() or not self._is_newest(path):
            changes = read_delta(path)
            self._expect_same_rows(path, changes.specs)
            try:
                changes.follows(self.instant.sequence)
            except StorageError as error:
                raise StorageError(f"'{path}': {error}") from error
            self.number += 1
            self.specs, self.instant = dict(changes.specs), changes.instant
            yield changes

    def rows(self) -> dict[str, Piece]:
        """Return all rows of the newest state by table, in arrays, by rising id; ``fold`` keeps them new."""
        parts: dict[str, list[Piece]] = {name: [] for name in self.specs}
        for piece in self.base:
            parts[piece.table].append(piece)
        rows = {name: joined(pieces) for name, pieces in parts.items() if pieces}
        changes = list(self.poll())
        news = combine(changes) if changes else self._nothing()
        return fold(rows, news)

    def load(
        self,
        make: Callable[[Sequence[TableSpec], int], storage.AnyStore],
        specs: Sequence[TableSpec] | None = None,
        shard: Shard | None = None,
    ) -> storage.AnyStore:
        """Return a store with the rows of the newest state, able to continue the log if they are all; see ``storage.load``."""
        given = self.newest_specs() if specs is None else specs
        base = self.base if shard is None else shard.of(self.base)
        store = storage.restore(base, make, given, tracked=True, source=str(self.folder))
        for changes in self.poll():
            storage.merge(store, changes if shard is None else shard.changes_of(changes), tracked=True)
        return store

    def newest_specs(self) -> list[TableSpec]:
        """Those of the last delta, whose settings may be others than the base's."""
        deltas = [number for number in numbers(self.folder, "delta") if number > self.number]
        if not deltas:
            return list(self.specs.values())
        path = path_of(self.folder, "delta", deltas[-1])
        _, specs, _ = told(path)
        self._expect_same_rows(path, specs)
        return list(specs.values())

    def _expect_same_rows(self, path: Path, specs: Mapping[str, TableSpec]) -> None:
        if list(map(row_of, specs.values())) != list(map(row_of, self.specs.values())):
            raise StorageError(
                f"'{path}' is damaged: its tables have other rows than those of its base; load another version"
            )

    def _nothing(self) -> Changes:
        tables = {name: nothing_of(spec) for name, spec in self.specs.items()}
        return Changes(first=self.instant.sequence + 1, instant=self.instant, specs=self.specs, tables=tables)

    def _is_newest(self, path: Path) -> bool:
        newer = [n for kind in ("base", "delta") for n in numbers(self.folder, kind) if n > self.number]
        if not newer or path.exists():  # it may have come since it was first looked for
            return not newer
        raise StorageError(
            f"'{path}' is missing while number {max(newer)} is there; load a newer base: begin a new Follower"
        )


def load(
    folder: str | Path,
    make: Callable[[Sequence[TableSpec], int], storage.AnyStore],
    specs: Sequence[TableSpec] | None = None,
    shard: Shard | None = None,
) -> storage.AnyStore:
    """Return a store with the rows of ``folder``: one version as ``save`` wrote it, or a ``DeltaLog``'s folder.

    ``shard``: only those whose ids are in it.
    """
    folder = Path(folder)
    if numbers(folder, "base"):
        return Follower(folder).load(make, specs, shard)
    return storage.load(folder, make, specs, shard)
