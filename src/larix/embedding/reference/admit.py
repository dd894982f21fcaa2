"""The oracle's admission: counting ids without a row, and drawing lots. The native core does the same, bit for bit."""

import numpy as np
from numpy.typing import NDArray

from larix.batch import Ids
from larix.embedding.admission import BLOCK, MOST, ByChance, ByCount
from larix.embedding.birth import mix

_SKETCH, _CHANCE = (
    np.uint64(0xA0761D6478BD642F),
    np.uint64(0xE7037ED1A0B428DB),
)  # so that no two draws are alike


class Sketch:
    """Counts of ids of one table, each at most 15: blocks of 128 counters, of which an id has four."""

    def __init__(self, policy: ByCount, key: int) -> None:
        self.policy = policy
        self._key = np.uint64(key) ^ _SKETCH
        self._counters = np.zeros(policy.blocks * BLOCK, np.uint8)
        self._added = 0

    def add(self, ids: Ids) -> None:
        """Count every occurrence in ``ids``."""
        cells = np.bincount(self._cells(ids).reshape(-1), minlength=len(self._counters))
        self._counters = np.minimum(self._counters + cells, MOST).astype(np.uint8)
        self._added += len(ids)

    def estimate(self, ids: Ids) -> NDArray[np.uint8]:
        """How often each id was counted, or more."""
        least: NDArray[np.uint8] = self._counters[self._cells(ids)].min(axis=1)
        return least

    def age(self) -> None:
        """At the end of a call: halve all counters if the window is over."""
        if self._added > self.policy.ageing:
            self._counters >>= 1
            self._added = 0

    def _cells(self, ids: Ids) -> NDArray[np.int64]:
        """Numbers of each id's counters ``[n, 4]``: the block by the high bits of a hash, 5 bits a quarter by the low."""
        hashed = mix(mix(ids.view(np.uint64)) ^ self._key)
        high = hashed >> np.uint64(32)
        block = (high * np.uint64(self.policy.blocks) >> np.uint64(32)).astype(np.int64)
        quarter = np.arange(4, dtype=np.uint64)
        inside = (hashed[:, None] >> (np.uint64(5) * quarter)) & np.uint64(31)
        return block[:, None] * BLOCK + (quarter * np.uint64(32) + inside).astype(np.int64)


def drawn(policy: ByChance, key: int, ids: Ids, call: int) -> NDArray[np.bool_]:
    """Whether ``ids`` are admitted in training call number ``call``."""
    start = mix(ids.view(np.uint64)) ^ np.uint64(key) ^ _CHANCE
    draw = mix(mix(start) + np.uint64(call)) >> np.uint64(11)
    admitted: NDArray[np.bool_] = draw < np.uint64(policy.bound)
    return admitted
