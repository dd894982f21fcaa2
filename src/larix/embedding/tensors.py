"""Safetensors files written once and read by mapping, under a SHA-256.

Knows the format (an 8-byte header length, a JSON header, raw little-endian data); knows nothing of tables.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from larix.errors import StorageError

_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "U32": np.dtype("<u4"),
}
_PIECE = 1 << 22


class Tensor(NamedTuple):
    """An array to be written, and as what: "F32", "I64" or "U32"."""

    dtype: str
    array: NDArray[Any]


def write(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write and fsync the file; return its SHA-256. OSError if the disk does not take it."""
    header: dict[str, Any] = {}
    end = 0
    for name, (dtype, array) in tensors.items():
        start, end = end, end + array.size * _DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def put(data: bytes | memoryview) -> None:
            digest.update(data)
            file.write(data)

        put(len(text).to_bytes(8, "little") + text)
        for dtype, array in tensors.values():
            put(np.ascontiguousarray(array, _DTYPES[dtype]).reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())
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
    return arrays(path)


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file of unknown origin, mapped; StorageError if it is no sound safetensors file."""
    try:
        data = np.memmap(path, np.uint8, "r")
        begin = 8 + int.from_bytes(data[:8].tobytes(), "little")
        if begin > len(data):
            raise ValueError("its header is longer than the file")
        found = {}
        for name, entry in json.loads(data[8:begin].tobytes()).items():
            if name == "__metadata__":
                continue
            start, end = (int(offset) for offset in entry["data_offsets"])
            if not 0 <= start <= end <= len(data) - begin:
                raise ValueError(f"'{name}' is not inside the file")
            dtype, shape = _DTYPES[entry["dtype"]], [int(size) for size in entry["shape"]]
            found[name] = data[begin + start : begin + end].view(dtype).reshape(shape)
    except OSError as error:
        raise StorageError(f"'{path}' cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(f"'{path}' is damaged: it is no safetensors file: {error}") from error
    return found
