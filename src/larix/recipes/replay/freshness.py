"""How long it took from an action in the log to an answer that had learned from it, the join's window left out.

Knows times only; nothing of logs, models or clocks.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any

import numpy as np

_FIGURES = {"p50_s": 50, "p90_s": 90, "p99_s": 99}
_CURVE = 39  # points of the distribution's curve


class Freshness:
    """Answers come in with the event time that their model has learned up to; samples with the time they were ready at.

    A sample cannot be learned from before the join's window has passed for it: until the log holds an event that is later
    than ``ready_ms`` and ``lateness_ms``. Freshness is from then to the first answer of a model that has learned up to
    ``ready_ms`` or later. Samples that became ready because no more events came have none.
    """

    def __init__(self, lateness_ms: int) -> None:
        self._lateness_ms = lateness_ms
        self._until: list[int] = []
        self._sent: list[int] = []
        self._learned: list[int] = []
        self._answered: list[int] = []
        self._waiting: dict[int, int] = {}  # ready_ms -> samples
        self._found: list[tuple[int, float, int]] = []  # ready_ms, seconds, samples

    def sent(self, until_ms: int, at_ms: int) -> None:
        """By ``at_ms`` of the wall clock the log held all events before ``until_ms``."""
        if not self._until or until_ms > self._until[-1]:
            self._until.append(until_ms)
            self._sent.append(at_ms)

    def ready(self, samples: Mapping[int, int]) -> None:
        """So many samples became ready at these event times."""
        for time, count in samples.items():
            self._waiting[time] = self._waiting.get(time, 0) + count

    def answered(self, learned_ms: int, at_ms: int) -> None:
        """An answer was given at ``at_ms`` by a model that has learned up to ``learned_ms``."""
        if not self._learned or learned_ms > self._learned[-1]:
            self._learned.append(learned_ms)
            self._answered.append(at_ms)

    def settle(self) -> None:
        """Find what can be found by now."""
        for time in [each for each in self._waiting if self._learned and each <= self._learned[-1]]:
            count = self._waiting.pop(time)
            passed = bisect_right(self._until, time + self._lateness_ms)
            if passed < len(self._sent):
                answered = self._answered[bisect_left(self._learned, time)]
                self._found.append((time, max(0.0, (answered - self._sent[passed]) / 1000), count))

    def figures(self, last: int | None = None) -> dict[str, Any]:
        """``samples``, ``p50_s``, ``p90_s``, ``p99_s``, ``max_s`` over all, or over the ``last`` times found."""
        found = self._found if last is None else self._found[-last:]
        if not found:
            return {"samples": 0, "max_s": None} | dict.fromkeys(_FIGURES)
        seconds, counts = np.array([each[1] for each in found]), np.array([each[2] for each in found])
        order = np.argsort(seconds, kind="stable")
        seconds, below = seconds[order], np.cumsum(counts[order])

        def at(percent: float) -> float:
            return float(seconds[np.searchsorted(below, percent / 100 * below[-1])])

        return {"samples": int(below[-1]), "max_s": float(seconds[-1])} | {
            name: at(percent) for name, percent in _FIGURES.items()
        }

    def curve(self) -> list[tuple[float, float]]:
        """Points (seconds, share of samples that were learned by then)."""
        if not self._found:
            return []
        seconds = np.repeat([each[1] for each in self._found], [each[2] for each in self._found])
        shares = np.linspace(0, 1, _CURVE)
        return [
            (float(value), float(share))
            for value, share in zip(np.quantile(seconds, shares), shares, strict=True)
        ]
