"""The oracle's scores, and its choice of rows to evict: all rows sorted, where the native core sweeps by a sample."""

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats
from larix.embedding.eviction import Eviction, score_weights

Clock = NDArray[np.uint32]


def gain(policy: Eviction | None, shows: NDArray[np.int64], clicks: Floats) -> Floats:
    """What a step adds to the scores of rows ``[n]`` with so many shows and clicks, in float32."""
    show, click = (np.float32(weight) for weight in score_weights(policy))
    gained: Floats = (shows.astype(np.float32) - clicks) * show + clicks * click
    return gained


def elapsed(clock: int, seen: Clock) -> Clock:
    """Ticks since rows were seen; none for a clock that was set back."""
    return np.where(seen < clock, np.uint32(clock) - seen, np.uint32(0)).astype(np.uint32)


def faded(scores: Floats, ticks: Clock, table: NDArray[np.float64]) -> Floats:
    """Scores after some ticks: times the factors of the bits of ``ticks`` in ``table``, lowest first, in float64."""
    factor = np.ones(len(ticks))
    for bit in range(32):
        factor = np.where(ticks >> np.uint32(bit) & np.uint32(1), factor * table[bit], factor)
    return (scores.astype(np.float64) * factor).astype(np.float32)
