"""Where positives and negatives lie along the scores, in bounded memory: the source of AUC and calibration.

Knows scores and weights; knows nothing of tasks, scenes or users.
"""

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats

Doubles = NDArray[np.float64]
Keys = NDArray[np.uint32]


def order_key(scores: Floats) -> Keys:
    """Map float32 to uint32 so that integer order is float order; -0.0 and 0.0 share a key."""
    bits = (np.ascontiguousarray(scores, dtype=np.float32) + np.float32(0)).view(np.uint32)
    negative = (bits >> np.uint32(31)).astype(bool)
    return np.where(negative, ~bits, bits | np.uint32(0x80000000))


def pair_auc(positive: Doubles, negative: Doubles) -> float:
    """Share of positive-negative pairs in order, ties half; the arrays hold masses by ascending score."""
    pairs = float(positive.sum() * negative.sum())
    below = np.cumsum(negative) - negative
    return float(positive @ (below + 0.5 * negative)) / pairs if pairs > 0 else float("nan")


class Sketch:
    """Masses of positives, negatives and predictions over at most ``bins`` intervals of score that adapt.

    A bin is all float32 whose order keys share a prefix (as in the q-digest of Shrivastava et al., SenSys
    2004), so any two bins are disjoint or nested and two sketches merge cleanly. Up to ``bins`` different
    scores have a bin each and AUC is exact. Beyond, light neighbours merge; pairs in different bins stay in
    their true order and pairs within one count half, so AUC is off by at most half the share of such pairs,
    which ``auc_error`` measures: about ``2 / bins``, more only if scores crowd where bins were already
    merged.
    """

    def __init__(self, bins: int = 1 << 16) -> None:
        self.bins = bins
        self.lo: Keys = np.zeros(0, np.uint32)
        self.level: NDArray[np.uint8] = np.zeros(0, np.uint8)  # a bin spans 2 ** level keys
        self.mass: Doubles = np.zeros((0, 3))  # positive, negative, predicted

    def add(self, scores: Floats, labels: Floats, weights: Floats, predicted: Doubles) -> None:
        """Add ``[n]`` scores (any monotone scale), labels 0 or 1, weights, and predicted probabilities."""
        if len(scores) == 0:
            return
        keys = order_key(scores)
        order = np.argsort(keys)
        weight = weights[order].astype(np.float64)
        positive = weight * labels[order]
        mass = np.stack([positive, weight - positive, weight * predicted[order]], axis=1)
        keys = keys[order]
        starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
        self._take(keys[starts], np.zeros(len(starts), np.uint8), np.add.reduceat(mass, starts))

    def merge(self, other: "Sketch") -> None:
        """Add all of ``other``, which stays as it is."""
        self._take(other.lo, other.level, other.mass)

    def auc(self) -> float:
        """Area under the ROC curve; NaN without both outcomes."""
        return pair_auc(self.mass[:, 0], self.mass[:, 1])

    def auc_error(self) -> float:
        """The most by which ``auc`` can be wrong; 0 while every score has its own bin."""
        positive, negative = self.mass[:, 0], self.mass[:, 1]
        pairs = float(positive.sum() * negative.sum())
        wide = self.level > 0
        return 0.5 * float(positive[wide] @ negative[wide]) / pairs if pairs > 0 else float("nan")

    def curve(self, points: int) -> Doubles:
        """Return up to ``points`` rows of equal mass: mean predicted, mean observed, mass."""
        weight = self.mass[:, 0] + self.mass[:, 1]
        total = float(weight.sum())
        if total <= 0:
            return np.zeros((0, 3))
        part = np.minimum((np.cumsum(weight) - 0.5 * weight) / total * points, points - 1).astype(np.int64)
        sums = np.stack(
            [np.bincount(part, column) for column in (self.mass[:, 2], self.mass[:, 0], weight)], axis=1
        )
        sums = sums[sums[:, 2] > 0]
        return np.column_stack([sums[:, :2] / sums[:, 2:], sums[:, 2]])

    def _take(self, lo: Keys, level: NDArray[np.uint8], mass: Doubles) -> None:
        lo = np.concatenate([self.lo, lo])
        level = np.concatenate([self.level, level])
        mass = np.concatenate([self.mass, mass])
        order = np.lexsort((-level.astype(np.int16), lo))  # a wide bin before those nested in it
        lo, level, mass = lo[order], level[order], mass[order]
        last = np.maximum.accumulate(lo.astype(np.int64) + (np.int64(1) << level.astype(np.int64)))
        starts = np.flatnonzero(np.r_[True, lo[1:] >= last[:-1]][: len(lo)])
        self.lo, self.level = lo[starts], level[starts]
        self.mass = np.add.reduceat(mass, starts) if len(starts) else mass
        limit = 4.0 / self.bins
        while len(self.lo) > self.bins:
            self._compress(limit)
            limit *= 2

    def _compress(self, limit: float) -> None:
        """Merge the bins under each prefix with at most ``limit`` of the mass; each outcome is half of it."""
        total = np.maximum(self.mass[:, :2].sum(axis=0), np.finfo(np.float64).tiny)
        for level in range(1, 33):
            if len(self.lo) <= self.bins * 3 // 4:
                break
            prefix = self.lo.astype(np.uint64) >> np.uint64(level)
            starts = np.flatnonzero(np.r_[True, prefix[1:] != prefix[:-1]])
            share = np.add.reduceat(self.mass[:, :2], starts) @ (0.5 / total)
            sizes = np.diff(np.r_[starts, len(prefix)])
            join = (sizes > 1) & (share <= limit)
            # Kept bins start a group of their own; the first bin of a joined prefix stands for all of them.
            first = np.repeat(~join, sizes)
            first[starts] = True
            kept = np.flatnonzero(first)
            joined = np.repeat(join, sizes)[kept]
            self.mass = np.add.reduceat(self.mass, kept)
            self.lo = np.where(joined, (prefix[kept] << np.uint64(level)).astype(np.uint32), self.lo[kept])
            self.level = np.where(joined, np.uint8(level), self.level[kept])
