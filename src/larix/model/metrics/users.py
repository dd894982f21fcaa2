"""Samples of whole users, kept under a budget: for ranks within a user (GAUC) and over watch times (XAUC).

Knows users, scenes and columns of scores and labels; knows nothing of what a task means.
"""

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats, Ids
from larix.model.metrics.sketch import Doubles, order_key

Hashes = NDArray[np.uint64]


def _mix(ids: Ids) -> Hashes:
    """Spread 64-bit ids evenly over uint64: the splitmix64 finaliser (Steele et al., OOPSLA 2014)."""
    z = np.ascontiguousarray(ids, dtype=np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Users:
    """Scores and labels of at most ``budget`` samples: of all users at first, then of a half, a quarter ...

    A user is in or out as a whole, by a hash of its id, so every kept user is complete and what is computed
    over users estimates the same thing over all of them. ``share`` is the share of users still kept.
    """

    def __init__(self, tasks: int, budget: int) -> None:
        self.budget = budget
        self.halvings = 0
        self.group: Ids = np.zeros(0, np.int64)
        self.scene: Ids = np.zeros(0, np.int64)
        self.values: Floats = np.zeros((0, 2 * tasks + 1), np.float32)  # scores, labels, weight
        self._new: list[tuple[Ids, Ids, Floats]] = []
        self._size = 0

    @property
    def share(self) -> float:
        """Share of users kept, a power of one half."""
        return 0.5**self.halvings

    def add(self, group: Ids, scene: Ids, values: Floats) -> None:
        """Add group and scene ``[n]`` with values (scores, labels, weight) float32 ``[n, 2 * tasks + 1]``."""
        keep = self._kept(group)
        self._new.append((group[keep], scene[keep], values[keep]))
        self._size += int(keep.sum())
        while self._size > self.budget and self.halvings < 63:
            self.gather()
            self.halvings += 1
            keep = self._kept(self.group)
            self.group, self.scene, self.values = self.group[keep], self.scene[keep], self.values[keep]
            self._size = len(self.group)

    def merge(self, other: "Users") -> None:
        """Add all of ``other``; the smaller share of users holds for both."""
        other.gather()
        self.halvings = max(self.halvings, other.halvings)
        self.gather()
        kept = self._kept(self.group)
        self.group, self.scene, self.values = self.group[kept], self.scene[kept], self.values[kept]
        self._size = len(self.group)
        self.add(other.group, other.scene, other.values)

    def gather(self) -> None:
        """Move what was added last into ``group``, ``scene`` and ``values``."""
        if self._new:
            groups, scenes, values = zip(*self._new, strict=True)
            self.group = np.concatenate([self.group, *groups])
            self.scene = np.concatenate([self.scene, *scenes])
            self.values = np.concatenate([self.values, *values])
            self._new = []

    def _kept(self, group: Ids) -> NDArray[np.bool_]:
        if self.halvings == 0:
            return np.ones(len(group), bool)
        kept: NDArray[np.bool_] = (_mix(group) >> np.uint64(64 - self.halvings)) == 0
        return kept


def gauc(group: Ids, scores: Floats, labels: Floats, weights: Floats) -> tuple[float, int]:
    """Return the mean of each group's AUC weighted by its impressions, and how many groups had both outcomes.

    Arrays are ``[n]``, labels 0 or 1. A group without both outcomes has no AUC and does not count; NaN if
    none has. An impression counts by its weight. Zhu et al., KDD 2017 (Optimized Cost per Click).
    """
    if len(group) == 0:
        return float("nan"), 0
    code = np.unique(group, return_inverse=True)[1].astype(np.uint64)
    keys = (code << np.uint64(32)) | order_key(scores)
    order = np.argsort(keys)
    keys = keys[order]
    weight = weights[order].astype(np.float64)
    positive = weight * labels[order]
    ties = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    positive, negative = np.add.reduceat(positive, ties), np.add.reduceat(weight - positive, ties)
    owner = (keys[ties] >> np.uint64(32)).astype(np.int64)
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    positives, negatives = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    below = np.cumsum(negative) - negative
    below -= below[starts][owner]
    ordered = np.add.reduceat(positive * (below + 0.5 * negative), starts)
    both = (positives > 0) & (negatives > 0)
    if not both.any():
        return float("nan"), 0
    auc = ordered[both] / (positives[both] * negatives[both])
    impressions = positives[both] + negatives[both]
    return float(auc @ impressions / impressions.sum()), int(both.sum())


def xauc(scores: Floats, labels: Floats, weights: Floats) -> float:
    """Share of pairs with different labels that scores put in order, ties half; NaN without a pair.

    Arrays are ``[n]``; AUC for a label that is a number, as used for watch time (Zhan et al., KDD 2022).
    Takes O(n log n) time by counting inversions bit by bit.
    """
    n = len(scores)
    weight = weights.astype(np.float64)
    label = order_key(labels).astype(np.uint64)
    both = (label << np.uint64(32)) | order_key(scores)
    different = _pairs(np.zeros(n, np.uint64), weight) - _pairs(label, weight)
    if different <= 0:
        return float("nan")
    tied = _pairs(order_key(scores).astype(np.uint64), weight) - _pairs(both, weight)
    order = np.argsort(both)
    rank = np.unique(scores, return_inverse=True)[1][order]
    return (different - _inversions(rank, weight[order]) - 0.5 * tied) / different


def _pairs(keys: Hashes, weight: Doubles) -> float:
    """Sum of w_i w_j over pairs of equal keys."""
    code = np.unique(keys, return_inverse=True)[1]
    return float(((np.bincount(code, weight) ** 2).sum() - (weight**2).sum()) / 2)


def _inversions(rank: NDArray[np.int64], weight: Doubles) -> float:
    """Sum of w_i w_j over i < j with rank[i] > rank[j], counted at the first bit where the two differ."""
    total = 0.0
    for bit in reversed(range(int(rank.max(initial=0)).bit_length())):
        prefix = rank >> (
            bit + 1
        )  # non-decreasing: the last round's sort keeps time order among equal prefixes
        one = (rank >> bit) & 1
        starts = np.flatnonzero(np.r_[True, prefix[1:] != prefix[:-1]])
        mass = np.where(one == 1, weight, 0.0)
        before = np.cumsum(mass) - mass
        before -= np.repeat(before[starts], np.diff(np.r_[starts, len(rank)]))
        total += float(before @ np.where(one == 0, weight, 0.0))
        order = np.argsort(rank >> bit, kind="stable")
        rank, weight = rank[order], weight[order]
    return total
