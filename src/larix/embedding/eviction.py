"""Which rows go when memory is short: eviction policies, and what the scores that rows keep for them are made of.

Knows nothing of where rows live, nor of how those that go are found.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from larix.errors import ConfigError

_LARGEST = 1e9  # of a weight, and of a time in units of the clock


@dataclass(frozen=True, kw_only=True, slots=True)
class LeastRecent:
    """The rows go first that were trained on longest ago."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeastFrequent:
    """The rows go first that were shown least: a score counts a row's occurrences in training.

    It halves every ``half_life``, in units of the store's clock; 0: never, so that what was frequent once stays for ever.
    """

    half_life: float = 0.0

    def __post_init__(self) -> None:
        _time(self, half_life=self.half_life)


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeToLive:
    """Rows go once the clock has passed their last training by more than ``age``, whether memory is short or not.

    They go when the sweep comes by, within some calls, and may be read until then. When memory is short before
    that, those trained on longest ago go first.
    """

    age: float

    def __post_init__(self) -> None:
        _time(self, age=self.age)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureScore:
    """The rows go first that are worth least: a score gains ``(1 - clicks) * show + clicks * click`` an occurrence.

    ``clicks``: of the occurrence's sample, 0 or 1 as a rule, what ``apply(..., clicks=...)`` says. With ``click`` above
    ``show`` a rare id that is clicked outlives a frequent one that is not, as in the feature stores of production click
    models. ``sequence``: how much an occurrence in a sequence counts for, beside one elsewhere: a history shows its ids
    again with every sample of a user, each as one of many. The score halves every ``half_life``, in units of the
    store's clock; 0: never.
    """

    show: float = 0.1
    click: float = 1.0
    sequence: float = 1.0
    half_life: float = 0.0

    def __post_init__(self) -> None:
        for name in ("show", "click", "sequence"):
            if not 0 <= getattr(self, name) <= _LARGEST:
                raise ConfigError(
                    f"FeatureScore.{name} is {getattr(self, name)}; it must be from 0 to {_LARGEST:g}"
                )
        _time(self, half_life=self.half_life)


Eviction = LeastRecent | LeastFrequent | TimeToLive | FeatureScore


def keeps_score(policy: Eviction | None) -> bool:
    """Whether rows under ``policy`` have a score."""
    return isinstance(policy, LeastFrequent | FeatureScore)


def score_weights(policy: Eviction | None) -> tuple[float, float, float]:
    """What a show without a click adds to a row's score, what a click, and their part in sequences; as float32."""
    match policy:
        case FeatureScore():
            show, click, sequence = np.array(
                [policy.show, policy.click, policy.sequence], np.float32
            ).tolist()
            return show, click, sequence
        case LeastFrequent():
            return 1.0, 1.0, 1.0
    return 0.0, 0.0, 0.0


def fading(policy: Eviction | None) -> NDArray[np.float64]:
    """What a score is multiplied by in 1, 2, 4, ... 2**31 ticks of the clock, float64 ``[32]``."""
    half_life = getattr(policy, "half_life", 0.0)
    return np.array([2.0 ** -(2.0**bit / half_life) if half_life else 1.0 for bit in range(32)])


def _time(policy: Eviction, **values: float) -> None:
    for name, value in values.items():
        if not (0 <= value <= _LARGEST * 4):
            raise ConfigError(
                f"{type(policy).__name__}.{name} is {value}; it must be from 0 to {_LARGEST * 4:g} ticks of the clock"
            )
