"""A store on disk: each table's rows in safetensors files of some megabytes, a manifest with checksums.

Knows nothing of how a store keeps its rows.
"""

import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np

from larix.batch import Floats, Ids
from larix.embedding import check, manifest, tensors
from larix.embedding.changes import Changes
from larix.embedding.precision import Precision
from larix.embedding.shard import Shard
from larix.embedding.snapshot import Instant, Piece, Snapshot
from larix.embedding.spec import TableSpec
from larix.embedding.store import Store
from larix.errors import ConfigError

_FORMAT = 2  # 1: one file a table, without seen and score
_ROWS = 1 << 16  # rows read or put at a time
_PART = 64  # and no more than this part of a memory budget


DTYPES: dict[Precision, str] = {"fp32": "F32", "bf16": "BF16", "fp16": "F16"}  # of weights
AnyStore = TypeVar("AnyStore", bound=Store)


def save(store: Store, folder: str | Path, tables: Sequence[str] | None = None) -> Instant:
    """Write the store, or some of its tables, as it is now to ``folder``, and return when that was.

    What is there is replaced once all is on disk. Rows may change meanwhile. StorageError if the disk is full
    or fails; the version that was there stays.
    """
    wanted = store.specs if tables is None else {name: store.specs[name] for name in tables}
    instants = []

    def fill(fresh: Path) -> dict[str, Any]:
        with store.snapshot(folder=fresh) as whole:
            instants.append(whole.instant)
            some = (piece for piece in whole if piece.table in wanted)
            return _fill(Snapshot(wanted, whole.seed, whole.instant, some), fresh)

    manifest.write(Path(folder), fill)
    return instants[0]


def write(snapshot: Snapshot, folder: Path) -> None:
    """Write a snapshot to ``folder``, each piece to a file; see ``save``."""
    manifest.write(folder, lambda fresh: _fill(snapshot, fresh))


def read(folder: str | Path) -> Snapshot:
    """Return the version in ``folder`` as a snapshot, whose files are read and checked as it is iterated.

    StorageError names a damaged file.
    """
    folder = manifest.standing(Path(folder))
    body = manifest.read(folder, (1, _FORMAT))
    with manifest.told_by(f"'{folder / manifest.NAME}'"):
        specs = check.specs([TableSpec.from_json(entry["spec"]) for entry in body["tables"]])
        files = [
            (
                specs[entry["spec"]["name"]],
                manifest.beside(folder, file["file"]),
                file["sha256"],
                file["rows"],
            )
            for entry in body["tables"]
            for file in entry.get("files", [entry])  # in format 1 a table is one file
        ]
        instant = (
            Instant.from_json(body["instant"])
            if "instant" in body
            else Instant(history="", sequence=1, steps=0, clock=0)
        )
        seed = operator.index(body["seed"])
    return Snapshot(specs, seed, instant, itertools.starmap(_read, files))


def load(
    folder: str | Path,
    make: Callable[[Sequence[TableSpec], int], AnyStore],
    specs: Sequence[TableSpec] | None = None,
    shard: Shard | None = None,
    *,
    tracked: bool = False,
) -> AnyStore:
    """Return ``make(specs, seed)`` filled with the rows of ``folder``, or those of them that are in ``shard``.

    ``specs`` (default: the saved ones) may change settings such as lr and add tables, which start empty.
    ConfigError if a saved table is not among them or has another dim or kind of optimizer; StorageError names
    a damaged file.
    """
    found = read(folder)
    found = found if shard is None else shard.of(found)
    return restore(found, make, specs, tracked=tracked, source=str(folder))


def restore(
    saved: Snapshot,
    make: Callable[[Sequence[TableSpec], int], AnyStore],
    specs: Sequence[TableSpec] | None = None,
    *,
    tracked: bool,
    source: str,
) -> AnyStore:
    """Return a store with the rows of a snapshot; ``source`` is what errors call it. See ``load``."""
    wanted = list(saved.specs.values()) if specs is None else list(specs)
    for spec in saved.specs.values():
        _agree(spec, {spec.name: spec for spec in wanted}, source)
    store = make(wanted, saved.seed)
    for piece in saved:
        put(store, piece)
    store.resume(saved.instant, tracked=tracked)
    return store


def put(store: Store, piece: Piece) -> None:
    """Make rows of the store what the piece says, some at a time: all of a call must find room in memory at once."""
    rows = _ROWS
    if store.memory_budget is not None:
        rows = max(1, min(rows, store.memory_budget // (_PART * store.specs[piece.table].row_bytes)))
    for start in range(0, len(piece.ids), rows):
        some = piece.take(slice(start, start + rows))
        store.put(some.table, some.ids, some.weights, some.state, seen=some.seen, score=some.score)


def merge(store: Store, changes: Changes, *, tracked: bool = False) -> bool:
    """Bring a store that follows another to the state at ``changes.last``; return False if it was there already.

    The store must stand where loading or the merge before left it, with no changes of its own. StorageError
    if changes are missing in between. ``tracked``: see ``Tables.resume``.
    """
    if not changes.follows(store.sequence - 1):
        return False
    for name, touched in changes.tables.items():
        store.remove(name, touched.removed)
        put(store, touched.piece(name))
    store.resume(changes.instant, tracked=tracked)
    return True


def pieces(store: Store, table: str, ids: Ids) -> Iterator[tuple[Ids, Floats, Floats]]:
    """Yield ids, weights ``[n, dim]`` and state ``[n, s]`` some thousands of rows at a time."""
    for start in range(0, len(ids), _ROWS):
        piece = ids[start : start + _ROWS]
        yield piece, *store.read(table, piece)


def columns(piece: Piece, spec: TableSpec) -> dict[str, tensors.Tensor]:
    """Return a piece's arrays as they are written: weights in the table's precision, which they have already."""
    return {
        "ids": tensors.Tensor("I64", piece.ids),
        "state": tensors.Tensor("F32", piece.state),
        "seen": tensors.Tensor("U32", piece.seen),
        "score": tensors.Tensor("F32", piece.score),
        "weights": tensors.Tensor(DTYPES[spec.precision], piece.weights),
    }


def _fill(snapshot: Snapshot, folder: Path) -> dict[str, Any]:
    files: dict[str, list[dict[str, Any]]] = {name: [] for name in snapshot.specs}
    numbers = {name: number for number, name in enumerate(snapshot.specs)}
    for piece in snapshot:
        if len(piece.ids) == 0:
            continue
        written = files[piece.table]
        name = f"{numbers[piece.table]:03}-{quote(piece.table, safe=' ')[:100]}.{len(written):04}.safetensors"
        digest = tensors.write(folder / name, columns(piece, snapshot.specs[piece.table]))
        written.append({"file": name, "rows": len(piece.ids), "sha256": digest})
    tables = [
        {"spec": spec.to_json(), "rows": sum(file["rows"] for file in files[name]), "files": files[name]}
        for name, spec in snapshot.specs.items()
    ]
    instant = snapshot.instant.to_json()
    return {"format": _FORMAT, "seed": snapshot.seed, "instant": instant, "tables": tables}


def piece_of(arrays: Mapping[str, Any], spec: TableSpec, rows: int, prefix: str = "") -> Piece:
    """Return the piece that ``columns`` made these arrays of, named so behind ``prefix``.

    ValueError if one is missing or not of so many rows.
    """
    if prefix + "seen" not in arrays:  # format 1
        arrays = {
            **arrays,
            f"{prefix}seen": np.zeros(len(arrays[f"{prefix}ids"]), np.uint32),
            f"{prefix}score": np.zeros(len(arrays[f"{prefix}ids"]), np.float32),
        }
    return Piece(
        table=spec.name,
        ids=tensors.column(arrays, f"{prefix}ids", np.int64, (rows,)),
        weights=tensors.column(arrays, f"{prefix}weights", np.float32, (rows, spec.dim)),
        state=tensors.column(arrays, f"{prefix}state", np.float32, (rows, spec.state)),
        seen=tensors.column(arrays, f"{prefix}seen", np.uint32, (rows,)),
        score=tensors.column(arrays, f"{prefix}score", np.float32, (rows,)),
    )


def _read(spec: TableSpec, path: Path, sha256: str, rows: int) -> Piece:
    arrays = tensors.read(path, sha256)
    with manifest.told_by(f"'{path}'"):
        return piece_of(arrays, spec, rows)


def _agree(saved: TableSpec, wanted: Mapping[str, TableSpec], source: str) -> None:
    spec = wanted.get(saved.name)
    if spec is None:
        raise ConfigError(
            f"'{source}' holds table '{saved.name}', which is not among {sorted(wanted)}; add its spec"
        )
    if spec.dim != saved.dim:
        raise ConfigError(
            f"table '{saved.name}' has dim {saved.dim} in '{source}' but {spec.dim} was asked for; "
            f"set dim={saved.dim} or rebuild the table"
        )
    if type(spec.optimizer) is not type(saved.optimizer):
        was, asked = type(saved.optimizer).__name__, type(spec.optimizer).__name__
        raise ConfigError(
            f"table '{saved.name}' has {was} state in '{source}' but {asked} was asked for; "
            f"use {was} or rebuild the table"
        )
