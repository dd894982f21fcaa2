"""Schedules: what a table's lr is multiplied by, as a pure function of the store's step number. Knows no optimizer.

Steps are counted from 0, in float64; native/schedule.hpp repeats the arithmetic operation by operation.
"""

import math
from dataclasses import dataclass

from larix.embedding import ranges
from larix.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class CosineDecay:
    """From 1 down half a cosine to ``floor`` at ``steps``, and ``floor`` from then on (Loshchilov and Hutter, 2017)."""

    steps: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        ranges.count(self, steps=self.steps)
        ranges.fraction(self, floor=self.floor)

    def factor(self, step: int) -> float:
        """What lr is multiplied by in step ``step``."""
        part = min(step, self.steps) / self.steps
        return self.floor + (1 - self.floor) * (0.5 * (1 + math.cos(math.pi * part)))


@dataclass(frozen=True, kw_only=True, slots=True)
class InverseSqrtDecay:
    """``sqrt(steps / (steps + step))``: half at three times ``steps``, never zero (Vaswani et al., 2017, after a warm-up)."""

    steps: int

    def __post_init__(self) -> None:
        ranges.count(self, steps=self.steps)

    def factor(self, step: int) -> float:
        """What lr is multiplied by in step ``step``."""
        return math.sqrt(self.steps / (float(self.steps) + step))


@dataclass(frozen=True, kw_only=True, slots=True)
class StepDecay:
    """``ratio ** (step // every)``: lr is multiplied by ``ratio`` once in ``every`` steps."""

    every: int
    ratio: float = 0.5

    def __post_init__(self) -> None:
        ranges.count(self, every=self.every)
        ranges.fraction(self, ratio=self.ratio)

    def factor(self, step: int) -> float:
        """What lr is multiplied by in step ``step``."""
        left, power, result = step // self.every, self.ratio, 1.0
        while left:  # by squaring: the same bits everywhere, which ``pow`` does not promise
            result = result * power if left & 1 else result
            left, power = left >> 1, power * power
        return result


Decay = CosineDecay | InverseSqrtDecay | StepDecay


@dataclass(frozen=True, kw_only=True, slots=True)
class Warmup:
    """``1 / steps, 2 / steps, .. 1`` in the first ``steps`` steps; from then on 1, or ``then`` from its own step 0."""

    steps: int
    then: Decay | None = None

    def __post_init__(self) -> None:
        ranges.count(self, steps=self.steps)
        if self.then is not None and not isinstance(self.then, Decay):
            raise ConfigError(
                f"Warmup.then is {self.then!r}; it must be a CosineDecay, InverseSqrtDecay or StepDecay"
            )

    def factor(self, step: int) -> float:
        """What lr is multiplied by in step ``step``."""
        if step < self.steps:
            return (step + 1) / self.steps
        return 1.0 if self.then is None else self.then.factor(step - self.steps)


Schedule = Warmup | CosineDecay | InverseSqrtDecay | StepDecay
