"""What weights are kept as between steps, and how float32 is rounded to it. Knows nothing of rows.

A value that fits stays as it is; a finite one stays finite, at most the largest; infinities and NaN stay what they are.
native/precision.hpp repeats all of this bit for bit.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats, Ids
from larix.embedding.birth import GOLDEN, mix

Precision = Literal["fp32", "bf16", "fp16"]

Halves = NDArray[np.uint16]  # the bits of bfloat16
_Bits = NDArray[np.uint32]
_INFINITY, _NAN = np.uint32(0x7F800000), np.uint32(0x7FC00000)


def weight_bytes(precision: Precision, dim: int) -> int:
    """Bytes that a row's weights take in memory: those of 16 bits are padded to a multiple of four."""
    return 4 * dim if precision == "fp32" else (2 * dim + 3) // 4 * 4


def draws(key: int, ids: Ids, step: int, dim: int) -> _Bits:
    """32 random bits ``[n, dim]`` for each weight: a function of table key, id, step number of the store and column.

    Columns ``2 * j`` and ``2 * j + 1`` are the low and the high half of draw ``j`` of a splitmix64 sequence.
    """
    now = mix(np.array([step], np.uint64) + GOLDEN)
    start = mix(mix(mix(ids.view(np.uint64)) ^ np.uint64(key)) ^ now)
    words = mix(start[:, None] + np.arange(1, (dim + 1) // 2 + 1, dtype=np.uint64) * GOLDEN)
    return words.astype("<u8").view("<u4").astype(np.uint32)[:, :dim]


def nearest(precision: Precision, weights: Floats) -> Floats:
    """Round to the nearest value of ``precision``, ties to even; float32 ``[n, dim]`` in and out.

    Births and puts round so. They must not depend on when they happen: a row born anew is what it was, a row put back
    what was read. And they happen once, so that no error adds up.
    """
    size, sign = _split(weights)
    match precision:
        case "fp32":
            return weights.copy()
        case "bf16":
            rounded = (size + np.uint32(0x7FFF) + (size >> np.uint32(16) & np.uint32(1))) & np.uint32(
                0xFFFF0000
            )
            return _join(size, sign, rounded, 0x7F7F0000)
        case "fp16":
            with np.errstate(over="ignore"):  # what overflows is made the largest by _join
                rounded = size.view(np.float32).astype(np.float16).astype(np.float32).view(np.uint32)
            return _join(size, sign, rounded, 0x477FE000)


def stochastic(precision: Precision, weights: Floats, bits: _Bits) -> Floats:
    """Round up or down to a value of ``precision`` by random ``bits`` of the same shape; float32 in and out.

    Steps round so: to the nearest they would lose every change below half a unit in the last place, and bf16 has but 8
    bits. The mean is the value itself, exactly in bf16 and in fp16 from 2**-14 on, below that to 2**-21 of a unit.
    """
    size, sign = _split(weights)
    match precision:
        case "fp32":
            return weights.copy()
        case "bf16":
            rounded = (size + (bits >> np.uint32(16))) & np.uint32(0xFFFF0000)
            return _join(size, sign, rounded, 0x7F7F0000)
        case "fp16":
            rounded = (size + (bits >> np.uint32(19))) & np.uint32(0xFFFFE000)
            small = size < np.uint32(0x38800000)  # 2**-14: below, steps are 2**-24 wide whatever the exponent
            fixed = np.where(small, size, np.uint32(0)).view(np.float32) * np.float32(2.0**45)
            units = (fixed.astype(np.uint32) + (bits >> np.uint32(11))) >> np.uint32(21)
            stepped = (units.astype(np.float32) * np.float32(2.0**-24)).view(np.uint32)
            return _join(size, sign, np.where(small, stepped, rounded), 0x477FE000)


def bf16_of(numbers: Floats) -> Halves:
    """Round to the nearest bfloat16, ties to even, as torch's cast does: unlike a weight what is too large is infinite."""
    size, sign = _split(numbers)
    rounded = size + np.uint32(0x7FFF) + (size >> np.uint32(16) & np.uint32(1))
    return ((np.where(size > _INFINITY, _NAN, rounded) | sign) >> np.uint32(16)).astype(np.uint16)


def widened(halves: Halves) -> Floats:
    """The float32 that each bfloat16 is."""
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _split(weights: Floats) -> tuple[_Bits, _Bits]:
    bits = np.ascontiguousarray(weights).view(np.uint32)
    return bits & np.uint32(0x7FFFFFFF), bits & np.uint32(0x80000000)


def _join(size: _Bits, sign: _Bits, rounded: _Bits, largest: int) -> Floats:
    """The rounded values under the rules for what is too large or no number; ``size`` is what was rounded."""
    kept = np.where(size < _INFINITY, np.minimum(rounded, np.uint32(largest)), _INFINITY)
    return (np.where(size > _INFINITY, _NAN, kept) | sign).view(np.float32)
