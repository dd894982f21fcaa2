"""Safetensors files written and read in pieces, so that a table need not fit in the free memory twice.

Knows the format (an 8-byte header length, a JSON header, raw little-endian data); knows nothing of tables.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from larix.errors import StorageError

_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}
_PIECE = 1 << 22


class Tensor(NamedTuple):
    """An array to be written: ``dtype`` "F32" or "I64", shape, pieces along the first axis in order."""

    dtype: str
    shape: tuple[int, ...]
    pieces: Iterable[NDArray[Any]]


def write(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write and fsync the file; return its SHA-256. OSError if the disk does not take it."""
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + math.prod(tensor.shape) * _DTYPES[tensor.dtype].itemsize
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def put(data: bytes | memoryview) -> None:
            digest.update(data)
            file.write(data)

        put(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            for piece in tensor.pieces:
                put(np.ascontiguousarray(piece, _DTYPES[tensor.dtype]).reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())
        assert file.tell() == 8 + len(text) + end, "the pieces of a tensor do not add up to its shape"
    return digest.hexdigest()


def read(path: Path, sha256: str) -> dict[str, NDArray[Any]]:
    """Return the file's arrays, mapped, not read; StorageError names a file missing or not as written."""
    try:
        with path.open("rb") as file:
            found = hashlib.sha256()
            while piece := file.read(_PIECE):
                found.update(piece)
    except OSError as error:
        raise StorageError(
            f"'{path}' cannot be read: {error.strerror}; restore it or load another version"
        ) from error
    if found.hexdigest() != sha256:
        raise StorageError(
            f"'{path}' is damaged: its SHA-256 is {found.hexdigest()[:12]}..., not {sha256[:12]}...; "
            f"load another version"
        )
    data = np.memmap(path, np.uint8, "r")
    begin = 8 + int.from_bytes(data[:8].tobytes(), "little")
    arrays = {}
    for name, entry in json.loads(data[8:begin].tobytes()).items():
        start, end = entry["data_offsets"]
        arrays[name] = data[begin + start : begin + end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays
