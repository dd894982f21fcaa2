"""The rows of a bundle: weights alone, encoded as serving keeps them, in files of some megabytes under checksums.

Knows nothing of networks or of who reads them.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from larix.embedding import Snapshot, TableSpec, manifest, tensors
from larix.embedding.quantize import Format, decode, encode
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

    StorageError names a damaged file.
    """
    body = manifest.read(folder, (_FORMAT,))
    specs = {each["name"]: TableSpec.from_json(each) for each in body["specs"]}
    precision: Format = body["precision"]
    instant = Instant.from_json(body["instant"])
    return Snapshot(specs, 0, instant, _pieces(folder, specs, precision, body["files"])), precision


def key(folder: Path) -> str:
    """What tells the rows that ``write`` wrote from others: a digest of what vouches for all its files. Errors as `read`."""
    body = manifest.read(folder, (_FORMAT,))
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _pieces(
    folder: Path, specs: Mapping[str, TableSpec], precision: Format, files: Sequence[Mapping[str, Any]]
) -> Iterator[Piece]:
    for file in files:
        arrays = tensors.read(folder / file["file"], file["sha256"])
        rows = file["rows"]
        yield Piece(
            table=file["table"],
            ids=arrays["ids"],
            weights=decode(precision, arrays["rows"], specs[file["table"]].dim),
            state=np.zeros((rows, 0), np.float32),
            seen=np.zeros(rows, np.uint32),
            score=np.zeros(rows, np.float32),
        )
