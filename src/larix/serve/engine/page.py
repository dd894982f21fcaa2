"""The last stage: logits to predictions, predictions to values, values to a page. Knows nothing of how logits are computed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats, Ids
from larix.errors import ConfigError
from larix.features import Task
from larix.feed import Diversity, LiveValueModel, ValueModel
from larix.serve.refusal import Refusal, Why
from larix.serve.request import Answer, Request
from larix.serve.scorer import Looked

_MAX_LOG_SECONDS = 16.0  # about 100 days: keeps expm1 finite for a model that went astray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pages:
    """How a model's logits become answers.

    ``value``: what items are worth; a live one is read as it is when the page is made, and only `refresh` looks at its file.
    ``diversity``: how the page is chosen; None, or items without vectors: by value alone. ``places``: how many of a page's
    places, from the first on, are chosen so; those behind go by value.
    """

    tasks: tuple[Task, ...]
    value: ValueModel | LiveValueModel
    diversity: Diversity | None = None
    places: int = 100

    def __post_init__(self) -> None:
        if self.places < 1:
            raise ConfigError(f"places is {self.places}; it must be 1 or more")
        self._value.check([task.name for task in self.tasks])

    @property
    def _value(self) -> ValueModel:
        return self.value.current if isinstance(self.value, LiveValueModel) else self.value

    def refresh(self) -> bool:
        """Look at the value model's file, if it has one; whether there is a new one. Not for a request to call."""
        return isinstance(self.value, LiveValueModel) and self.value.refresh()

    def answer(
        self, request: Request, looked: Looked, logits: Floats, seconds: Mapping[str, float]
    ) -> Answer:
        """``logits``: float32 ``[rows, tasks]``. Refusal BROKEN if they are not numbers."""
        found = predictions(self.tasks, logits)
        model, scene = self._value, looked.user.scene
        explanation = model.explain(found, scene) if request.explain else None
        value = model.value(found, scene) if explanation is None else explanation.value
        return Answer(
            id=request.id,
            stamp=looked.stamp,
            order=self._order(request, looked, value),
            value=value,
            predictions=found,
            explanation=explanation,
            missing=_sums(looked.user.missing, looked.missing),
            seconds=seconds,
        )

    def _order(self, request: Request, looked: Looked, value: NDArray[np.float64]) -> Ids:
        count = len(value) if request.count is None else min(max(request.count, 0), len(value))
        vectors = looked.vectors
        if self.diversity is None or vectors is None or not request.diversity or not count:
            return best(value, count)
        chosen = self.diversity.page(value, vectors, min(count, self.places)).items
        if len(chosen) == count:
            return chosen
        left = np.ones(len(value), np.bool_)
        left[chosen] = False
        rest = np.flatnonzero(left)
        return np.concatenate([chosen, rest[best(value[rest], count - len(chosen))]])


def best(value: NDArray[np.float64], count: int) -> Ids:
    """The positions of the ``count`` highest values, highest first; of equals the first."""
    if 0 < count < len(value) // 8:
        # Sort only what can be among them: all from the lowest that is, ties included.
        least = np.partition(value, len(value) - count)[len(value) - count]
        there = np.flatnonzero(value >= least)
        return there[np.argsort(-value[there], kind="stable")[:count]]
    return np.argsort(-value, kind="stable")[:count]


def predictions(tasks: tuple[Task, ...], logits: Floats) -> dict[str, Floats]:
    """By task float32 ``[rows]``: probabilities, or seconds. Refusal BROKEN for logits that are not numbers."""
    if not np.isfinite(logits).all():
        row, task = np.argwhere(~np.isfinite(logits))[0]
        raise Refusal(
            Why.BROKEN, f"the model gives {logits[row, task]} for '{tasks[task].name}' of candidate {row}"
        )
    scores = np.ascontiguousarray(logits.T)
    with np.errstate(over="ignore"):  # exp(100) is infinite in 32 bits, and its probability 0
        found = np.reciprocal(1 + np.exp(-scores))  # of all tasks in one go: calls cost more than numbers
    for at, task in enumerate(tasks):
        if task.kind != "binary":
            np.expm1(np.clip(scores[at], 0, _MAX_LOG_SECONDS), out=found[at])
    return {task.name: found[at] for at, task in enumerate(tasks)}


def _sums(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    found = dict(first)
    for name, count in second.items():
        found[name] = found.get(name, 0) + count
    return found
