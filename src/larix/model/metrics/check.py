"""What a batch of scores and labels must be to be counted. Knows nothing of how it is counted."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from larix.batch import Floats, Ids
from larix.errors import ConfigError, DataError, NumericsError


class Task(Protocol):
    """What metrics ask of a task."""

    @property
    def name(self) -> str:
        """The label's name."""

    @property
    def kind(self) -> str:
        """Either "binary" (labels 0 and 1, logits) or "regression" (seconds, scored by their log1p)."""


def check_tasks(tasks: Sequence[Task]) -> None:
    """Raise ConfigError for a kind that metrics do not know and for a name that occurs twice."""
    names = [task.name for task in tasks]
    for task in tasks:
        if task.kind not in ("binary", "regression"):
            raise ConfigError(
                f"task '{task.name}' is of kind '{task.kind}'; metrics know 'binary' and 'regression'"
            )
        if names.count(task.name) > 1:
            raise ConfigError(
                f"there are {names.count(task.name)} tasks named '{task.name}'; give each its own name"
            )


def check_batch(
    tasks: Sequence[Task],
    scores: Floats,
    labels: Floats,
    weight: Floats,
    group: Ids | None,
    scene: Ids | None,
) -> None:
    """Raise ConfigError, NumericsError or DataError unless all is as ``Metrics.update`` says."""
    shape = (len(scores), len(tasks))
    for name, array in (("scores", scores), ("labels", labels)):
        if array.shape != shape:
            names = ", ".join(task.name for task in tasks)
            raise ConfigError(
                f"{name} are of shape {array.shape}, not {shape}: give one column for each of {names}"
            )
    for name, column in (("weight", weight), ("group", group), ("scene", scene)):
        if column is not None and column.shape != shape[:1]:
            raise ConfigError(f"{name} is of shape {column.shape} but the batch has {shape[0]} samples")
    fine = np.isfinite(weight) & (weight >= 0)
    if not fine.all():
        row = int(np.argmin(fine))
        raise DataError(
            f"sample {row} of the batch has weight {weight[row]}; weights are finite numbers from 0 on"
        )
    for index, task in enumerate(tasks):
        score, label = scores[:, index], labels[:, index]
        fine = np.isfinite(score)
        if not fine.all():
            row = int(np.argmin(fine))
            raise NumericsError(
                f"task '{task.name}' has score {score[row]} for sample {row} of the batch: the model has "
                "diverged; train with a lower learning rate or clip gradients"
            )
        binary = task.kind == "binary"
        fine = np.isnan(label) | (
            (label == 0) | (label == 1) if binary else (label >= 0) & np.isfinite(label)
        )
        if not fine.all():
            row = int(np.argmin(fine))
            expected = "0, 1, or NaN for unknown" if binary else "seconds from 0 on, or NaN for unknown"
            raise DataError(
                f"task '{task.name}' has label {label[row]} for sample {row} of the batch, not {expected}"
            )
