"""The oracle's scores, and its choice of rows to evict: all rows sorted, where the native core sweeps by a sample."""

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats
from larix.embedding.eviction import Eviction, score_weights

Clock = NDArray[np.uint32]


def gain(policy: Eviction | None, clicks: Floats, in_sequence: bool = False) -> Floats:
    """What occurrences ``[n]`` with so many clicks add to the scores of their rows, in float32."""
    show, click, sequence = (np.float32(weight) for weight in score_weights(policy))
    gained = (np.float32(1) - clicks) * show + clicks * click
    return gained * (sequence if in_sequence else np.float32(1))


def elapsed(clock: int, seen: Clock) -> Clock:
    """Ticks since rows were seen; none for a clock that was set back."""
    return np.where(seen < clock, np.uint32(clock) - seen, np.uint32(0)).astype(np.uint32)


def faded(scores: Floats, ticks: Clock, table: NDArray[np.float64]) -> Floats:
    """Scores after some ticks: times the factors of the bits of ``ticks`` in ``table``, lowest first, in float64."""
    factor = np.ones(len(ticks))
    for bit in range(32):
        factor = np.where(ticks >> np.uint32(bit) & np.uint32(1), factor * table[bit], factor)
    return (scores.astype(np.float64) * factor).astype(np.float32)
