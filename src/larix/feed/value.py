"""The value model: what an item is worth in a scene, given the predictions of all tasks, and why.

Knows tasks by name only; knows nothing of where predictions come from or what is done with values.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from larix.errors import ConfigError, DataError
from larix.feed.calibration import Calibration, Isotonic, Platt
from larix.feed.fusion import Fusion

Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Explanation:
    """Where the values of a request's items come from; every array is float64 ``[n]``.

    ``shares`` sum to ``value``, or to its logarithm where ``logarithmic``.
    """

    value: Numbers
    predictions: Mapping[str, Numbers]
    calibrated: Mapping[str, Numbers]
    shares: Mapping[str, Numbers]
    weights: Mapping[str, float]
    logarithmic: bool

    def item(self, index: int) -> dict[str, Any]:
        """Return what is to say of one item, in plain numbers: ready for JSON."""
        tasks = {
            name: {
                "prediction": float(self.predictions[name][index]),
                "calibrated": float(self.calibrated[name][index]),
                "weight": self.weights[name],
                "share": float(share[index]),
            }
            for name, share in self.shares.items()
        }
        return {
            "value": float(self.value[index]),
            "shares_sum_to": "log(value)" if self.logarithmic else "value",
            "tasks": tasks,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueModel:
    """``fusion`` of the tasks' predictions, or the one that ``scenes`` has for the request's scene.

    ``calibration``: what corrects a task's probabilities before they are fused; tasks without one are taken as they
    are. ConfigError if one is for a task that no fusion weighs.
    """

    fusion: Fusion
    scenes: Mapping[int, Fusion] = field(default_factory=dict)
    calibration: Mapping[str, Calibration] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for fusion in (self.fusion, *self.scenes.values()):
            if not isinstance(fusion, Fusion):
                raise ConfigError(f"a value model fuses by a Fusion, but got {fusion!r}; see larix.feed")
        for scene in self.scenes:
            if isinstance(scene, bool) or not isinstance(scene, int):
                raise ConfigError(f"a value model has scene {scene!r}; a scene is a 64-bit id")
        for name, calibration in self.calibration.items():
            if not isinstance(calibration, Platt | Isotonic):
                raise ConfigError(
                    f"task '{name}' is calibrated by {calibration!r}; give a Platt or an Isotonic"
                )
            if name not in self.tasks:
                raise ConfigError(
                    f"task '{name}' is calibrated but no fusion weighs it; the tasks are {sorted(self.tasks)}"
                )
        object.__setattr__(self, "scenes", MappingProxyType(dict(self.scenes)))
        object.__setattr__(self, "calibration", MappingProxyType(dict(self.calibration)))

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks whose predictions are needed, whatever the scene."""
        return frozenset(name for fusion in (self.fusion, *self.scenes.values()) for name in fusion.weights)

    def check(self, tasks: Collection[str]) -> None:
        """Raise ConfigError if this needs a task that is not among ``tasks``."""
        unknown = sorted(self.tasks - set(tasks))
        if unknown:
            raise ConfigError(f"the value model weighs {unknown}, but the tasks are {sorted(tasks)}")

    def value(self, predictions: Mapping[str, ArrayLike], scene: int | None = None) -> Numbers:
        """Return what each item of a request is worth in ``scene``, float64 ``[n]``.

        ``predictions``: of each task that counts there, ``[n]``: a binary task's probabilities, a regression task's
        values, 0 or more. DataError for a task that is missing, of another length, or not such a number.
        """
        fusion = self._fusion(scene)
        return fusion.value(fusion.shares(self._calibrated(fusion, _checked(fusion, predictions))))

    def explain(self, predictions: Mapping[str, ArrayLike], scene: int | None = None) -> Explanation:
        """Return what ``value`` gives, with each task's share in it."""
        fusion = self._fusion(scene)
        given = _checked(fusion, predictions)
        calibrated = self._calibrated(fusion, given)
        shares = fusion.shares(calibrated)
        return Explanation(
            value=fusion.value(shares),
            predictions=given,
            calibrated=calibrated,
            shares=shares,
            weights=fusion.weights,
            logarithmic=fusion.logarithmic,
        )

    def _fusion(self, scene: int | None) -> Fusion:
        return self.fusion if scene is None else self.scenes.get(scene, self.fusion)

    def _calibrated(self, fusion: Fusion, given: Mapping[str, Numbers]) -> dict[str, Numbers]:
        return {
            name: self.calibration[name](values) if name in self.calibration else values
            for name, values in given.items()
        }


def _checked(fusion: Fusion, predictions: Mapping[str, ArrayLike]) -> dict[str, Numbers]:
    with suppress(KeyError, ValueError, TypeError):  # of all tasks in one go; what is wrong is told below
        block = np.array([predictions[name] for name in fusion.weights], np.float64)
        if block.ndim == 2 and ((block >= 0) & (block < np.inf)).all():
            return dict(zip(fusion.weights, block, strict=True))
    missing = sorted(set(fusion.weights) - set(predictions))
    if missing:
        raise DataError(f"the value model needs predictions of {missing}, but got {sorted(predictions)}")
    given = {name: np.asarray(predictions[name], np.float64) for name in fusion.weights}
    shapes = {name: values.shape for name, values in given.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise DataError(
            f"predictions have shapes {shapes}; each must be one number an item, as many for each task"
        )
    for name, values in given.items():
        good = np.isfinite(values) & (values >= 0)
        if not good.all():
            item = int(np.argmin(good))
            raise DataError(
                f"task '{name}' predicts {values[item]} for item {item}; it must be finite and 0 or more"
            )
    return given
