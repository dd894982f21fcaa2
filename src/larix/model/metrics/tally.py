"""One task's running sums over one set of samples: means, losses and, for a binary task, the sketch for AUC.

Knows nothing of users, of scenes or of other tasks.
"""

from typing import Any

import numpy as np

from larix.batch import Floats
from larix.model.metrics.sketch import Doubles, Sketch

Json = dict[str, Any]
MAX_LOG_SECONDS = 16.0  # about 100 days: keeps expm1 finite for a model that went astray


def number(value: float) -> float | None:
    """Return ``value`` for JSON: None where it is not a finite number."""
    return float(value) if np.isfinite(value) else None


def ratio(above: float, below: float) -> float | None:
    """Return ``above / below`` for JSON; None if that is no number."""
    return number(above / below) if below else None


class BinaryTally:
    """A task with labels 0 and 1, scored by logits."""

    def __init__(self, bins: int = 1 << 16) -> None:
        self.count = 0
        self.positives = 0
        self.sums: Doubles = np.zeros(4)  # weight, weighted label, weighted prediction, weighted loss
        self.sketch = Sketch(bins)

    def add(self, logits: Floats, labels: Floats, weights: Floats) -> None:
        """Add ``[n]`` finite logits with labels 0 or 1 and weights from 0 on."""
        x = logits.astype(np.float64)
        tail = np.exp(-np.abs(x))
        predicted = np.where(x >= 0, 1.0, tail) / (1.0 + tail)
        loss = np.maximum(x, 0.0) - x * labels + np.log1p(tail)
        weight = weights.astype(np.float64)
        self.count += len(x)
        self.positives += int(np.count_nonzero(labels))
        self.sums += [weight.sum(), weight @ labels, weight @ predicted, weight @ loss]
        self.sketch.add(logits, labels, weights, predicted)

    def merge(self, other: "BinaryTally") -> None:
        """Add all of ``other``."""
        self.count += other.count
        self.positives += other.positives
        self.sums += other.sums
        self.sketch.merge(other.sketch)

    def compute(self, curve: int = 0) -> Json:
        """Return the metrics; with ``curve``, also the calibration curve of that many points."""
        weight, observed, predicted, loss = map(float, self.sums)
        result: Json = {
            "kind": "binary",
            "count": self.count,
            "positives": self.positives,
            "auc": number(self.sketch.auc()),
            "auc_error": number(self.sketch.auc_error()),
            "logloss": ratio(loss, weight),
            "predicted": ratio(predicted, weight),
            "observed": ratio(observed, weight),
            "calibration": ratio(predicted, observed),
        }
        if curve:
            names = ("predicted", "observed", "weight")
            result["curve"] = [
                dict(zip(names, row, strict=True)) for row in self.sketch.curve(curve).tolist()
            ]
        return result


class RegressionTally:
    """A task whose label is a time in seconds and whose score is the predicted ``log1p`` of it."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: Doubles = np.zeros(5)  # weight, label, prediction, absolute error, squared error

    def add(self, scores: Floats, labels: Floats, weights: Floats) -> None:
        """Add ``[n]`` finite scores (log1p seconds), labels in seconds and weights from 0 on."""
        predicted = np.expm1(np.clip(scores.astype(np.float64), 0.0, MAX_LOG_SECONDS))
        error = predicted - labels
        weight = weights.astype(np.float64)
        self.count += len(error)
        self.sums += [
            weight.sum(),
            weight @ labels,
            weight @ predicted,
            weight @ np.abs(error),
            weight @ np.square(error),
        ]

    def merge(self, other: "RegressionTally") -> None:
        """Add all of ``other``."""
        self.count += other.count
        self.sums += other.sums

    def compute(self) -> Json:
        """Return the metrics, all in seconds but ``calibration`` (predicted over observed mean)."""
        weight, observed, predicted, absolute, squared = map(float, self.sums)
        mean_square = ratio(squared, weight)
        return {
            "kind": "regression",
            "count": self.count,
            "mae": ratio(absolute, weight),
            "rmse": None if mean_square is None else mean_square**0.5,
            "predicted": ratio(predicted, weight),
            "observed": ratio(observed, weight),
            "calibration": ratio(predicted, observed),
        }
