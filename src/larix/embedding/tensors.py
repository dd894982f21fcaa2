"""Safetensors files written once and read by mapping, under a SHA-256.

Knows the format (an 8-byte header length, a JSON header, raw little-endian data); knows nothing of tables.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from larix.errors import StorageError

_DTYPES: dict[str, np.dtype[Any]] = {
    "BF16": np.dtype("<u2"),  # numpy has no name for it: its bits
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "U32": np.dtype("<u4"),
    "U8": np.dtype("u1"),
}
_PIECE = 1 << 22
_MOST_AXES = 32


class Tensor(NamedTuple):
    """An array to be written, and as what: "I64", "U32", "U8", "F32", or float32 whose values fit as "BF16" or "F16"."""

    dtype: str
    array: NDArray[Any]


def write(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write and fsync the file, the widest types first, so that all are aligned; return its SHA-256.

    OSError if the disk does not take it.
    """
    tensors = dict(sorted(tensors.items(), key=lambda item: -_DTYPES[item[1].dtype].itemsize))
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
            put(_narrow(dtype, array).reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def read(path: Path, sha256: str) -> dict[str, NDArray[Any]]:
    """Return the file's arrays, mapped, not read; those of 16 bits as float32.

    StorageError names a file missing or not as written.
    """
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
            f"'{path}' is damaged: its SHA-256 is {found.hexdigest()[:12]}..., not {sha256!s:.12}...; "
            f"load another version"
        )
    try:
        return parse(np.memmap(path, np.uint8, "r"))
    except (OSError, ValueError) as error:
        raise StorageError(f"'{path}' is damaged: it is no safetensors file: {error}") from error


def parse(data: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file's bytes ``[n]``, whoever wrote it, as views; ValueError if it is not sound."""
    begin = 8 + int.from_bytes(data[:8].tobytes(), "little")
    if begin > len(data):
        raise ValueError("its header is longer than the file")
    found = {}
    try:
        for name, entry in json.loads(data[8:begin].tobytes()).items():
            if name == "__metadata__":
                continue
            start, end = entry["data_offsets"]
            dtype, shape = entry["dtype"], tuple(entry["shape"])
            if len(shape) > _MOST_AXES or not all(type(size) is int and 0 <= size < 2**63 for size in shape):
                raise ValueError(f"'{name}' has no shape that an array can have")
            size = math.prod(shape) * _DTYPES[dtype].itemsize
            if not 0 <= start <= end == start + size <= len(data) - begin:
                raise ValueError(f"'{name}' is not inside the file")
            array = data[begin + start : begin + end].view(_DTYPES[dtype]).reshape(shape)
            found[name] = np.require(_wide(dtype, array), requirements="A")  # others need not align theirs
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"its header is not one: {error}") from error
    return found


def column(
    arrays: Mapping[str, NDArray[Any]], name: str, dtype: type[np.generic], shape: tuple[int, ...]
) -> NDArray[Any]:
    """Return one of a file's arrays; ValueError if it is not there, or another than expected."""
    array = arrays.get(name)
    if array is None:
        raise ValueError(f"'{name}' is not in it")
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"'{name}' is {array.dtype} {list(array.shape)}, not {np.dtype(dtype)} {list(shape)}"
        )
    return array


def _narrow(dtype: str, array: NDArray[Any]) -> NDArray[Any]:
    if dtype == "BF16":
        bits = np.ascontiguousarray(array, "<f4").view("<u4")
        assert not (bits & 0xFFFF).any(), "a weight does not fit in bf16"
        return (bits >> 16).astype("<u2")
    return np.ascontiguousarray(array, _DTYPES[dtype])


def _wide(dtype: str, array: NDArray[Any]) -> NDArray[Any]:
    if dtype == "BF16":
        return (array.astype("<u4") << 16).view("<f4")
    return array.astype("<f4") if dtype == "F16" else array
