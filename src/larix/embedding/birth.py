"""How a row is born: first weights as a pure function of (seed, table, id). Knows nothing of where rows live.

The native core repeats ``born`` in C++ bit for bit; ``table_key`` and ``factor`` are all it is given.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from larix.embedding.spec import Constant, Init, Uniform

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def table_key(seed: int, name: str) -> int:
    """64 bits that stand for one table under one seed."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "little")


def factor(init: Init) -> float:
    """What a drawn integer is multiplied by (``Constant``: the value itself), rounded to float32."""
    if isinstance(init, Constant):
        value = init.value
    elif isinstance(init, Uniform):
        value = init.scale
    else:  # the sum of four uniform 16-bit integers has the variance (2**32 - 1) / 3
        value = init.std / math.sqrt((2**32 - 1) / 3)
    return float(np.float32(value))


def born(init: Init, key: int, ids: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
    """First weights ``[n, dim]`` of the rows ``ids`` of the table with ``key``.

    Column ``c`` takes draw ``c`` of a splitmix64 sequence (Steele et al., OOPSLA 2014) that starts at a hash
    of (key, id). Uniform uses its top 24 bits, Normal the sum of its four 16-bit words.
    """
    scale = np.float32(factor(init))
    if isinstance(init, Constant):
        return np.full((len(ids), dim), scale, np.float32)
    start = mix(mix(ids.view(np.uint64)) ^ np.uint64(key))
    draws = mix(start[:, None] + np.arange(1, dim + 1, dtype=np.uint64) * _GOLDEN)
    if isinstance(init, Uniform):
        unit = (draws >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
        return unit * scale
    words = (draws[:, :, None] >> np.array([0, 16, 32, 48], np.uint64)) & np.uint64(0xFFFF)
    centred: NDArray[np.int64] = words.astype(np.int64).sum(axis=2) - 2 * 0xFFFF
    return centred.astype(np.float32) * scale


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: a bijection of 64 bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
