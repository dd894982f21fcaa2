"""How learning rates rise and fall over a run: one multiplier a step. Knows no optimizer."""

import math
from dataclasses import dataclass
from typing import Literal

from larix.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """Rise in a straight line over ``warmup_steps``, then go from 1 to ``floor`` by ``decay``.

    ``cosine`` is half a cosine wave (Loshchilov and Hutter, ICLR 2017); ``none`` stays at 1.
    """

    warmup_steps: int = 0
    decay: Literal["none", "linear", "cosine"] = "none"
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ConfigError(f"Schedule.warmup_steps is {self.warmup_steps}; it must not be negative")
        if self.decay not in ("none", "linear", "cosine"):
            raise ConfigError(f"Schedule.decay is '{self.decay}'; it must be 'none', 'linear' or 'cosine'")
        if not 0 <= self.floor <= 1:
            raise ConfigError(
                f"Schedule.floor is {self.floor}; it is a part of the full rate, between 0 and 1"
            )

    def scale(self, step: int, steps: int) -> float:
        """The multiplier of step number ``step``, counted from 0, of ``steps``; the first is above 0."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.decay == "none":
            return 1.0
        done = min(1.0, (step - self.warmup_steps) / max(1, steps - self.warmup_steps))
        left = 1 - done if self.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return self.floor + (1 - self.floor) * left
