"""How the predictions of several tasks become one value of an item. Knows nothing of scenes, calibration or files."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from larix.errors import ConfigError

Numbers = NDArray[np.float64]


class Fusion(ABC):
    """A value of each item of one request, made of a share for each task it weighs.

    ``shares`` sum to the value, or, where ``logarithmic``, to its logarithm.
    """

    logarithmic: ClassVar[bool] = False
    weights: Mapping[str, float]

    @abstractmethod
    def shares(self, tasks: Mapping[str, Numbers]) -> dict[str, Numbers]:
        """Return each task's share, float64 ``[n]``. ``tasks``: its predictions, float64 ``[n]``, 0 or more."""

    def value(self, shares: Mapping[str, Numbers]) -> Numbers:
        """Return the values, float64 ``[n]``, that ``shares`` make."""
        total: Numbers = np.sum(list(shares.values()), axis=0)
        return np.exp(total) if self.logarithmic else total


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightedSum(Fusion):
    """``sum of weight * prediction``. Weights may be negative: a report, a skip."""

    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", _checked("WeightedSum", self.weights))

    def shares(self, tasks: Mapping[str, Numbers]) -> dict[str, Numbers]:
        """See ``Fusion``."""
        return {name: weight * tasks[name] for name, weight in self.weights.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerProduct(Fusion):
    """``product of max(prediction, floor) ** weight``: what counts is ratios, whatever the scale of a task.

    ``weights``: the powers, which may be negative. ``floor``: above 0, so that one prediction of 0 does not undo
    all others.
    """

    logarithmic: ClassVar[bool] = True
    weights: Mapping[str, float]
    floor: float = 1e-6

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", _checked("PowerProduct", self.weights))
        if not 0 < self.floor < math.inf:
            raise ConfigError(f"PowerProduct has floor={self.floor}; it must be finite and above 0")

    def shares(self, tasks: Mapping[str, Numbers]) -> dict[str, Numbers]:
        """See ``Fusion``."""
        return {
            name: weight * np.log(np.maximum(tasks[name], self.floor))
            for name, weight in self.weights.items()
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class RankEnsemble(Fusion):
    """``sum of weight / (smoothing + rank)`` (reciprocal rank fusion, Cormack et al., SIGIR 2009).

    An item's rank by a task is 1 more than the number of items of the request with a higher prediction, so
    that neither a task's scale nor the order of items matters. ``smoothing``: 0 or more; the larger, the less the
    first ranks stand out.
    """

    weights: Mapping[str, float]
    smoothing: float = 60.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", _checked("RankEnsemble", self.weights))
        if not 0 <= self.smoothing < math.inf:
            raise ConfigError(f"RankEnsemble has smoothing={self.smoothing}; it must be finite and 0 or more")

    def shares(self, tasks: Mapping[str, Numbers]) -> dict[str, Numbers]:
        """See ``Fusion``."""
        return {
            name: weight / (self.smoothing + _ranks(tasks[name])) for name, weight in self.weights.items()
        }


def _ranks(predictions: Numbers) -> Numbers:
    ascending = np.sort(predictions)
    higher = len(predictions) - np.searchsorted(ascending, predictions, side="right")
    return 1.0 + higher.astype(np.float64)


def _checked(who: str, weights: Mapping[str, float]) -> Mapping[str, float]:
    if not weights:
        raise ConfigError(f"{who} has no weights; give it one for each task that counts")
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise ConfigError(f"{who} has weight {weight!r} for task '{name}'; it must be a finite number")
    return MappingProxyType({name: float(weight) for name, weight in weights.items()})
