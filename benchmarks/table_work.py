"""The work that is put to every subject of table.py: which ids a step asks for, and how its rounds are timed.

Knows nothing of who does the work.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
from measure import work
from numpy.typing import NDArray

SLOTS, BATCH, ZIPF, LR = 26, 8192, 1.05, 0.05
IDS = SLOTS * BATCH  # of a step
POOL, STEPS = 48, 8  # different steps, and how many are timed in one go: a round
DISTRIBUTIONS = ("zipf", "uniform")
Steps = Callable[[int, int], None]  # works ``count`` steps of the pool from step ``first`` on
Cases = dict[str, Steps]  # by name: "step zipf"
Subject = Callable[
    [int, int, int], tuple[str, Cases]
]  # from dim, threads and rows to a name and what it can do
Positions = NDArray[np.int64]


def positions(distribution: str, rows: int) -> Positions:
    """Which row of its slot each sample asks for: ``[POOL, SLOTS, BATCH]``, below ``rows // SLOTS``.

    Hot rows lie anywhere, as they do in a table whose ids come in no order of popularity.
    """
    rng = np.random.default_rng(1)
    each = rows // SLOTS
    if distribution == "uniform":
        return rng.integers(0, each, (POOL, SLOTS, BATCH))
    mass = np.cumsum(np.arange(1, each + 1, dtype=np.float64) ** -ZIPF)
    drawn = np.empty((POOL, SLOTS, BATCH), np.int64)
    for step in drawn:
        step[:] = np.searchsorted(mass, rng.random((SLOTS, BATCH)) * mass[-1])
    return rng.permutation(each)[drawn]


def numbered(where: Positions, rows: int) -> Positions:
    """Rows of all slots counted through: what static arrays take, ``[..., SLOTS, n]`` below ``rows``."""
    return where + (np.arange(SLOTS) * (rows // SLOTS))[:, None]


def keys(numbers: Positions) -> NDArray[np.int64]:
    """One 64-bit id a row number, all over the range: the finaliser of splitmix64, a bijection."""
    bits = numbers.astype(np.uint64)
    bits += np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (bits ^ (bits >> np.uint64(31))).view(np.int64)


def gradients(dim: int) -> NDArray[np.float32]:
    """What comes back to the rows of a step: ``[BATCH, SLOTS * dim]``."""
    return np.random.default_rng(2).standard_normal((BATCH, SLOTS * dim), np.float32) * np.float32(1e-3)


def serve(subjects: Mapping[str, Subject]) -> None:
    """A worker, given SUBJECT DIM THREADS ROWS [CASE ...]: each round times ``STEPS`` steps of each case, or of all.

    An untimed step goes before, to bring back what others have driven out of the caches.
    """
    subject, dim, threads, rows = sys.argv[1], *(int(word) for word in sys.argv[2:5])
    if threads == 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ |= {"OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
    name, cases = subjects[subject](dim, threads, rows)
    wanted = sys.argv[5:] or list(cases)
    done = 0

    def one_round() -> dict[str, float]:
        nonlocal done
        first = done * STEPS % POOL
        done += 1
        told = {}
        for case in wanted:
            cases[case]((first or POOL) - 1, 1)
            start = time.perf_counter()
            cases[case](first, STEPS)
            told[case] = STEPS * IDS / (time.perf_counter() - start)
        return told

    work({"subject": name, "rows": rows}, one_round)
