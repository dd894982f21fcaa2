"""What a replica keeps of a row of float32 weights, and what is read back. Knows nothing of tables.

native/quantize.hpp repeats all of this bit for bit.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats

Format = Literal["fp32", "bf16", "fp16", "int8"]
Rows = NDArray[np.uint8]  # encoded, [n, row_bytes]

_INFINITY = np.uint32(0x7F800000)
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

    bf16 and fp16: the nearest value, ties to even; a finite weight stays finite, at most the largest there is;
    infinities and NaN stay what they are. int8: ``scale = max(|w|) / 127``, a float32 at the row's start, then
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
            parts = [_bf16(weights)]
        case "fp16":
            parts = [_fp16(weights)]
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


def _bf16(weights: Floats) -> NDArray[np.uint16]:
    size, sign = _split(weights)
    rounded = (size + np.uint32(0x7FFF) + (size >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    return _join(size, sign, rounded, largest=0x7F7F, infinity=0x7F80, nan=0x7FC0)


def _fp16(weights: Floats) -> NDArray[np.uint16]:
    size, sign = _split(weights)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is made the largest
        rounded = size.view(np.float32).astype(np.float16).view(np.uint16).astype(np.uint32)
    return _join(size, sign, rounded, largest=0x7BFF, infinity=0x7C00, nan=0x7E00)


def _split(weights: Floats) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    bits = weights.view(np.uint32)
    return bits & np.uint32(0x7FFFFFFF), bits >> np.uint32(16) & np.uint32(0x8000)


def _join(
    size: NDArray[np.uint32],
    sign: NDArray[np.uint32],
    rounded: NDArray[np.uint32],
    *,
    largest: int,
    infinity: int,
    nan: int,
) -> NDArray[np.uint16]:
    finite = np.minimum(rounded, np.uint32(largest))
    other = np.where(size == _INFINITY, np.uint32(infinity), np.uint32(nan))
    return (np.where(size < _INFINITY, finite, other) | sign).astype(np.uint16)


def _int8(weights: Floats) -> tuple[Floats, NDArray[np.int8]]:
    largest = np.abs(weights).max(axis=1, keepdims=True)
    numbers = np.isfinite(largest)
    nan = np.float32(np.nan)
    scale = np.where(numbers, np.clip(largest / np.float32(127), _SMALLEST, _LARGEST), nan)
    steps = np.rint(np.where(numbers, weights, np.float32(0)) / np.where(numbers, scale, np.float32(1)))
    return scale, steps.astype(np.int8)
