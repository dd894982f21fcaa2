"""How two versions' predictions for the same candidates differ, request by request, in bounded memory.

Knows numbers alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats

QUANTILES = (0.5, 0.9, 0.99)
_KEPT = 1 << 16  # absolute differences to tell quantiles by: a uniform sample of all


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The other's predictions less those answered with.

    ``mean``: of the differences; ``absolute`` and ``most``: the mean and the largest of their sizes; ``quantiles``: of
    their sizes, by level. ``rank_correlation``: Spearman's of a request's candidates, the mean over requests whose
    predictions are not all alike; NaN if there was none.
    """

    candidates: int
    mean: float
    absolute: float
    most: float
    quantiles: Mapping[float, float]
    rank_correlation: float


class Differences:
    """Takes in requests one by one."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = self._sum_absolute = self._most = 0.0
        self._correlations, self._correlated = 0.0, 0
        self._kept = np.zeros(0)
        self._random = np.random.default_rng(0)

    def add(self, answered: Floats, other: Floats) -> None:
        """Take in a request: predictions ``[n]`` of the same candidates."""
        difference = other.astype(np.float64) - answered.astype(np.float64)
        if not len(difference):
            return
        size = np.abs(difference)
        self._keep(size)
        self._count += len(size)
        self._sum += float(difference.sum())
        self._sum_absolute += float(size.sum())
        self._most = max(self._most, float(size.max()))
        correlation = rank_correlation(answered, other)
        if not math.isnan(correlation):
            self._correlations += correlation
            self._correlated += 1

    def sum_up(self) -> Difference:
        """What has been taken in so far."""
        count = max(1, self._count)
        levels = np.quantile(self._kept, QUANTILES) if len(self._kept) else np.zeros(len(QUANTILES))
        return Difference(
            candidates=self._count,
            mean=self._sum / count,
            absolute=self._sum_absolute / count,
            most=self._most,
            quantiles=dict(zip(QUANTILES, levels.tolist(), strict=True)),
            rank_correlation=self._correlations / self._correlated if self._correlated else math.nan,
        )

    def _keep(self, sizes: NDArray[np.float64]) -> None:
        """Vitter's algorithm R (1985), a request at a time."""
        room = min(_KEPT - len(self._kept), len(sizes))
        self._kept = np.concatenate([self._kept, sizes[:room]])
        rest = sizes[room:]
        place = self._random.integers(0, self._count + room + 1 + np.arange(len(rest)))
        stays = place < _KEPT
        self._kept[place[stays]] = rest[stays]


def rank_correlation(first: Floats, second: Floats) -> float:
    """Spearman's rank correlation of ``[n]`` numbers each, equal ones at their mean rank; NaN if either are all alike."""
    ranks = np.stack([_ranks(first), _ranks(second)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    scale = math.sqrt(float((ranks[0] ** 2).sum()) * float((ranks[1] ** 2).sum()))
    return float(ranks[0] @ ranks[1]) / scale if scale else math.nan


def _ranks(values: Floats) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks
