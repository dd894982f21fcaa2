"""A store on disk: a safetensors file a table (ids, weights, state; by rising id), a manifest with checksums.

Written beside its place, synced, renamed into it. Knows nothing of how a store keeps its rows.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from larix.batch import Floats, Ids
from larix.embedding import tensors
from larix.embedding.spec import TableSpec
from larix.errors import ConfigError, StorageError

_FORMAT = 1
_ROWS = 1 << 16  # rows read or written at a time


class Store(Protocol):
    """What saving and loading ask of a store."""

    specs: dict[str, TableSpec]
    seed: int

    def keys(self, table: str) -> Ids: ...  # noqa: D102
    def read(self, table: str, ids: Ids) -> tuple[Floats, Floats]: ...  # noqa: D102
    def put(self, table: str, ids: Ids, weights: Floats, state: Floats) -> None: ...  # noqa: D102


AnyStore = TypeVar("AnyStore", bound=Store)


def save(store: Store, folder: str | Path) -> None:
    """Write the store to ``folder``, replacing what is there once all is on disk. Change no row meanwhile.

    StorageError if the disk is full or fails; the version that was there stays.
    """
    folder = Path(folder)
    fresh, aside = _beside(folder, "new"), _beside(folder, "old")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        tables = [_write_table(store, name, fresh, number) for number, name in enumerate(store.specs)]
        body = {"format": _FORMAT, "seed": store.seed, "tables": tables}
        manifest = fresh / "manifest.json"
        with manifest.open("w", encoding="utf-8") as file:
            json.dump({"sha256": _digest(body)} | body, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        _sync(fresh)
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        fresh.rename(folder)
        _sync(folder.parent)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if aside.exists() and not folder.exists():
            aside.rename(folder)
        raise StorageError(
            f"'{folder}' cannot be written: {error.strerror}; free some space or choose another place "
            f"(what was there is untouched)"
        ) from error


def load(
    folder: str | Path,
    make: Callable[[Sequence[TableSpec], int], AnyStore],
    specs: Sequence[TableSpec] | None = None,
) -> AnyStore:
    """Return ``make(specs, seed)`` filled with the rows of ``folder``.

    ``specs`` (default: the saved ones) may change settings such as lr and add tables, which start empty.
    ConfigError if a saved table is not among them or has another dim or kind of optimizer; StorageError names
    a damaged file.
    """
    folder = Path(folder)
    if not folder.exists() and (aside := _beside(folder, "old")).exists():
        folder = aside  # a save died between its two renames: this is the version that was there
    manifest = _read_manifest(folder / "manifest.json")
    saved = [TableSpec.from_json(entry["spec"]) for entry in manifest["tables"]]
    wanted = saved if specs is None else list(specs)
    for spec in saved:
        _agree(spec, {spec.name: spec for spec in wanted}, folder)
    store = make(wanted, manifest["seed"])
    for entry, spec in zip(manifest["tables"], saved, strict=True):
        arrays = tensors.read(folder / entry["file"], entry["sha256"])
        for start in range(0, entry["rows"], _ROWS):
            piece = slice(start, start + _ROWS)
            store.put(spec.name, arrays["ids"][piece], arrays["weights"][piece], arrays["state"][piece])
    return store


def pieces(store: Store, table: str, ids: Ids) -> Iterator[tuple[Ids, Floats, Floats]]:
    """Yield ids, weights ``[n, dim]`` and state ``[n, s]`` some thousands of rows at a time."""
    for start in range(0, len(ids), _ROWS):
        piece = ids[start : start + _ROWS]
        yield piece, *store.read(table, piece)


def _write_table(store: Store, name: str, folder: Path, number: int) -> dict[str, Any]:
    spec, ids = store.specs[name], store.keys(name)
    file = f"{number:03}-{quote(name, safe=' ')[:100]}.safetensors"
    weights = (weights for _, weights, _ in pieces(store, name, ids))
    state = (state for _, _, state in pieces(store, name, ids))
    digest = tensors.write(
        folder / file,
        {
            "ids": tensors.Tensor("I64", (len(ids),), [ids]),
            "weights": tensors.Tensor("F32", (len(ids), spec.dim), weights),
            "state": tensors.Tensor("F32", (len(ids), spec.state), state),
        },
    )
    return {"spec": spec.to_json(), "rows": len(ids), "file": file, "sha256": digest}


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        digest = manifest.pop("sha256")
    except OSError as error:
        raise StorageError(
            f"'{path}' cannot be read: {error.strerror}; is this the folder of saved tables?"
        ) from error
    except (ValueError, KeyError, AttributeError) as error:
        raise StorageError(f"'{path}' is damaged: it is not a manifest; load another version") from error
    if digest != _digest(manifest):
        raise StorageError(f"'{path}' is damaged: it does not match its own checksum; load another version")
    if manifest["format"] != _FORMAT:
        raise StorageError(
            f"'{path}' has format {manifest['format']} not {_FORMAT}; use the larix that wrote it"
        )
    return manifest


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _agree(saved: TableSpec, wanted: Mapping[str, TableSpec], folder: Path) -> None:
    spec = wanted.get(saved.name)
    if spec is None:
        raise ConfigError(
            f"'{folder}' holds table '{saved.name}', which is not among {sorted(wanted)}; add its spec"
        )
    if spec.dim != saved.dim:
        raise ConfigError(
            f"table '{saved.name}' has dim {saved.dim} in '{folder}' but {spec.dim} was asked for; "
            f"set dim={saved.dim} or rebuild the table"
        )
    if type(spec.optimizer) is not type(saved.optimizer):
        was, asked = type(saved.optimizer).__name__, type(spec.optimizer).__name__
        raise ConfigError(
            f"table '{saved.name}' has {was} state in '{folder}' but {asked} was asked for; "
            f"use {was} or rebuild the table"
        )


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
