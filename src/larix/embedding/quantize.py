"""What a replica keeps of a row of float32 weights, and what is read back. Knows nothing of tables.

native/quantize.hpp repeats all of this bit for bit.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats
from larix.embedding.precision import nearest

Format = Literal["fp32", "bf16", "fp16", "int8"]
Rows = NDArray[np.uint8]  # encoded, [n, row_bytes]

# Scales of int8: normal floats, so that dividing by them is exact enough; 127 of the largest are finite.
_SMALLEST = np.float32(2.0**-126)
_LARGEST = np.float32(float.fromhex("0x1.020406p+121"))


def row_bytes(precision: Format, dim: int) -> int:
    """Return how many bytes a row takes, without its place in the index."""
    match precision:
        case "fp32":
            return 4 * dim
        case "bf16" | "fp16":
            return (2 * dim + 3) // 4 * 4
        case "int8":
            return 4 + (dim + 3) // 4 * 4


def encode(precision: Format, weights: Floats) -> Rows:
    """Return rows of ``weights`` float32 ``[n, dim]`` as bytes ``[n, row_bytes]``.

    bf16 and fp16: see ``precision.nearest``. int8: ``scale = max(|w|) / 127``, a float32 at the row's start, then
    ``round(w / scale)`` for each weight: off by at most ``scale / 2``, but for float32's rounding (a factor of
    1 + 2**-14); zero is kept as it is. The scale is at least 2**-126, so that rows of denormal numbers are off by
    2**-127 at most. A row with a NaN or an infinity reads NaN in all columns: what cannot be scaled is not hidden.
    """
    weights = np.ascontiguousarray(weights, np.float32)
    rows = np.zeros((len(weights), row_bytes(precision, weights.shape[1])), np.uint8)
    match precision:
        case "fp32":
            parts: list[NDArray[Any]] = [weights]
        case "bf16":
            parts = [(nearest(precision, weights).view(np.uint32) >> np.uint32(16)).astype(np.uint16)]
        case "fp16":
            parts = [nearest(precision, weights).astype(np.float16)]
        case "int8":
            parts = list(_int8(weights))
    start = 0
    for part in parts:
        width = part.shape[1] * part.itemsize
        rows[:, start : start + width] = np.ascontiguousarray(part).view(np.uint8)
        start += width
    return rows


def decode(precision: Format, rows: Rows, dim: int) -> Floats:
    """Return the weights float32 ``[n, dim]`` that encoded rows read as."""
    read: Floats
    match precision:
        case "fp32":
            read = _columns(rows, 0, dim, np.float32)
        case "bf16":
            halves = _columns(rows, 0, dim, np.uint16)
            read = (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)
        case "fp16":
            read = _columns(rows, 0, dim, np.float16).astype(np.float32)
        case "int8":
            scale = _columns(rows, 0, 1, np.float32)
            read = _columns(rows, 4, dim, np.int8).astype(np.float32) * scale
    return read


def _columns(rows: Rows, start: int, dim: int, dtype: Any) -> NDArray[Any]:
    return np.ascontiguousarray(rows[:, start : start + dim * np.dtype(dtype).itemsize]).view(dtype)


def _int8(weights: Floats) -> tuple[Floats, NDArray[np.int8]]:
    largest = np.abs(weights).max(axis=1, keepdims=True)
    numbers = np.isfinite(largest)
    nan = np.float32(np.nan)
    scale = np.where(numbers, np.clip(largest / np.float32(127), _SMALLEST, _LARGEST), nan)
    steps = np.rint(np.where(numbers, weights, np.float32(0)) / np.where(numbers, scale, np.float32(1)))
    return scale, steps.astype(np.int8)
