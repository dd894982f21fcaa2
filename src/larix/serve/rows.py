"""The rows of a bundle: weights alone, encoded as serving keeps them, in files of some megabytes under checksums.

Knows nothing of networks or of who reads them.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from larix.embedding import Snapshot, TableSpec, check, manifest, tensors
from larix.embedding.quantize import Format, decode, encode, row_bytes
from larix.embedding.snapshot import Instant, Piece
from larix.errors import ConfigError

_FORMAT = 1


def write(snapshot: Snapshot, folder: Path, precision: Format = "fp32") -> int:
    """Write the weights of a snapshot to ``folder`` and return how many rows there are; optimizer state stays behind.

    StorageError if the disk is full or fails: what was there stays.
    """
    if precision not in get_args(Format):
        raise ConfigError(f"rows cannot be kept as {precision!r}; there are {', '.join(get_args(Format))}")
    files: list[dict[str, Any]] = []

    def fill(fresh: Path) -> dict[str, Any]:
        for piece in snapshot:
            name = f"{len(files):05}.safetensors"
            rows = {
                "ids": tensors.Tensor("I64", piece.ids),
                "rows": tensors.Tensor("U8", encode(precision, piece.weights)),
            }
            digest = tensors.write(fresh / name, rows)
            files.append({"file": name, "table": piece.table, "rows": len(piece.ids), "sha256": digest})
        specs = [spec.to_json() for spec in snapshot.specs.values()]
        instant = snapshot.instant.to_json()
        return {"format": _FORMAT, "precision": precision, "specs": specs, "instant": instant, "files": files}

    manifest.write(folder, fill)
    return sum(file["rows"] for file in files)


def read(folder: Path) -> tuple[Snapshot, Format]:
    """What ``write`` wrote, read and checked as it is iterated, and the precision that it was written in.

    StorageError names a damaged file, or one that makes no sense.
    """
    body = manifest.read(folder, (_FORMAT,))
    with manifest.told_by(f"'{folder / manifest.NAME}'"):
        specs = check.specs([TableSpec.from_json(each) for each in body["specs"]])
        precision: Format = body["precision"]
        if precision not in get_args(Format):
            raise ValueError(f"rows are kept as {precision!r:.50}")
        instant = Instant.from_json(body["instant"])
        files = [
            _File(specs[each["table"]], manifest.beside(folder, each["file"]), each["sha256"], each["rows"])
            for each in body["files"]
        ]
    return Snapshot(specs, 0, instant, (_piece(file, precision) for file in files)), precision


def key(folder: Path) -> str:
    """What tells the rows that ``write`` wrote from others: a digest of what vouches for all its files. Errors as `read`."""
    body = manifest.read(folder, (_FORMAT,))
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class _File(NamedTuple):
    spec: TableSpec
    path: Path
    sha256: str
    rows: int


def _piece(file: _File, precision: Format) -> Piece:
    arrays = tensors.read(file.path, file.sha256)
    shape = (file.rows, row_bytes(precision, file.spec.dim))
    with manifest.told_by(f"'{file.path}'"):
        ids = tensors.column(arrays, "ids", np.int64, shape[:1])
        encoded = tensors.column(arrays, "rows", np.uint8, shape)
    return Piece(
        table=file.spec.name,
        ids=ids,
        weights=decode(precision, encoded, file.spec.dim),
        state=np.zeros((file.rows, 0), np.float32),
        seen=np.zeros(file.rows, np.uint32),
        score=np.zeros(file.rows, np.float32),
    )
