"""From what a model says to what happens: a probability's correction, fitted on held-out labels.

Knows nothing of tasks or files; ``ValueModel`` stores what is fitted here.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from larix.errors import ConfigError, DataError

Numbers = NDArray[np.float64]
LEAST = 1e-12  # of a probability and of its complement, before taking logits
_ROUNDS = 100
_CLOSE = 1e-10


@dataclass(frozen=True, kw_only=True, slots=True)
class Platt:
    """``sigmoid(slope * logit(p) + intercept)`` (Platt, 1999, on logits). ``slope``: above 0, which keeps the order."""

    slope: float = 1.0
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.slope < math.inf) or not math.isfinite(self.intercept):
            raise ConfigError(
                f"Platt has slope={self.slope} and intercept={self.intercept}; both must be finite, the slope above 0"
            )

    def __call__(self, probabilities: ArrayLike) -> Numbers:
        """Return what ``probabilities`` (any shape) correspond to, float64."""
        return _sigmoid(self.slope * _logit(probabilities) + self.intercept)


@dataclass(frozen=True, kw_only=True, slots=True)
class Isotonic:
    """A rising curve through the points (``inputs``, ``outputs``), straight between them and level beyond.

    ``inputs``: strictly ascending; ``outputs``: in [0, 1], ascending. At least one point.
    """

    inputs: tuple[float, ...]
    outputs: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "outputs", tuple(self.outputs))
        if not self.inputs or len(self.inputs) != len(self.outputs):
            raise ConfigError(
                f"Isotonic has {len(self.inputs)} inputs and {len(self.outputs)} outputs; it needs one or more of each"
            )
        if not np.isfinite(self.inputs).all() or not (np.diff(self.inputs) > 0).all():
            raise ConfigError("the inputs of Isotonic must be finite and each above the one before")
        low, high = self.outputs[0], self.outputs[-1]
        if not (0 <= low <= high <= 1) or not (np.diff(self.outputs) >= 0).all():
            raise ConfigError(
                "the outputs of Isotonic must lie between 0 and 1, none of them below the one before"
            )

    def __call__(self, probabilities: ArrayLike) -> Numbers:
        """Return what ``probabilities`` (any shape) correspond to, float64."""
        return np.interp(np.asarray(probabilities, np.float64), self.inputs, self.outputs)


Calibration = Platt | Isotonic


def fit_platt(probabilities: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Platt:
    """Return the Platt curve of the highest likelihood, by Newton's method.

    All ``[n]``; labels 0 or 1 (or shares between), weights 0 or more. As in Platt's paper labels are first drawn in by
    ``1 / (positives + 2)`` and ``1 / (negatives + 2)``, so that labels that could be told apart without an error do not
    give an infinite slope. DataError for what is no probability or label, for labels all of one kind, and if the order
    would have to be turned round (slope 0 or below): such a model cannot be calibrated.
    """
    p, y, w = _checked(probabilities, labels, weights)
    positives, negatives = float(w @ y), float(w @ (1 - y))
    if positives == 0 or negatives == 0:
        raise DataError("all labels are of one kind; fit a calibration on samples with both")
    y = y * (positives + 1) / (positives + 2) + (1 - y) / (negatives + 2)
    x = _logit(p)
    slope, intercept = (1.0, 0.0) if np.ptp(x) > 0 else (0.0, 0.0)
    loss = _loss(slope * x + intercept, y, w)
    for _ in range(_ROUNDS):
        q = _sigmoid(slope * x + intercept)
        d, curve = w * (q - y), w * q * (1 - q)
        gradient = np.array([d @ x, d.sum()])
        hessian = np.array([[curve @ (x * x), curve @ x], [curve @ x, curve.sum()]])
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        for halving in range(60):
            tried = slope - step[0] * 0.5**halving, intercept - step[1] * 0.5**halving
            fresh = _loss(tried[0] * x + tried[1], y, w)
            if fresh <= loss:
                break
        else:
            break
        done = loss - fresh <= _CLOSE * abs(loss) and np.abs(step).max() < 1e-6
        (slope, intercept), loss = tried, fresh
        if done:
            break
    if slope <= 0:
        raise DataError(
            f"the labels fall as the probabilities rise (slope {slope:.3g}); are these the probabilities of this label?"
        )
    return Platt(slope=float(slope), intercept=float(intercept))


def fit_isotonic(probabilities: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> Isotonic:
    """Return the rising curve of the least squared error, by pooling adjacent violators (Ayer et al., 1955).

    All ``[n]``, as for ``fit_platt``; labels may be all of one kind. A pooled stretch of probabilities gets one output,
    a point at each of its ends. DataError for what is no probability or label.
    """
    p, y, w = _checked(probabilities, labels, weights)
    order = np.argsort(p, kind="stable")
    p, y, w = p[order], y[order], w[order]
    starts = np.flatnonzero(np.diff(p, prepend=-1.0))
    sums, masses = np.add.reduceat(w * y, starts), np.add.reduceat(w, starts)
    blocks: list[tuple[float, float, int]] = []  # of pooled inputs: sum of labels, mass, the first
    for first, (total, mass) in enumerate(zip(sums.tolist(), masses.tolist(), strict=True)):
        while blocks and blocks[-1][0] * mass >= total * blocks[-1][1]:
            before = blocks.pop()
            total, mass, first = before[0] + total, before[1] + mass, before[2]
        blocks.append((total, mass, first))
    firsts = [first for *_, first in blocks]
    ends = zip(firsts, [first - 1 for first in firsts[1:]] + [len(starts) - 1], strict=True)
    points = [
        (float(p[starts[index]]), min(1.0, total / mass))
        for (total, mass, _), pair in zip(blocks, ends, strict=True)
        for index in dict.fromkeys(pair)
    ]
    xs, ys = zip(*points, strict=True)
    return Isotonic(inputs=xs, outputs=tuple(np.maximum.accumulate(ys).tolist()))


def _checked(
    probabilities: ArrayLike, labels: ArrayLike, weights: ArrayLike | None
) -> tuple[Numbers, Numbers, Numbers]:
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    w = np.ones_like(p) if weights is None else np.asarray(weights, np.float64)
    if p.ndim != 1 or not p.shape == y.shape == w.shape:
        raise DataError(
            f"probabilities, labels and weights have shapes {p.shape}, {y.shape} and {w.shape}; all must be [n]"
        )
    for name, values in (("probabilities", p), ("labels", y)):
        wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
        if len(wrong):
            raise DataError(f"{name}[{wrong[0]}] is {values[wrong[0]]}; it must lie between 0 and 1")
    if not np.isfinite(w).all() or (w < 0).any() or not w.sum() > 0:
        raise DataError(
            "weights must be finite, none below 0 and not all 0; without samples nothing can be fitted"
        )
    return p[w > 0], y[w > 0], w[w > 0]


def _logit(probabilities: ArrayLike) -> Numbers:
    p = np.clip(np.asarray(probabilities, np.float64), LEAST, 1 - LEAST)
    return np.log(p) - np.log1p(-p)


def _sigmoid(x: Numbers) -> Numbers:
    tail = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, tail) / (1.0 + tail)


def _loss(logits: Numbers, labels: Numbers, weights: Numbers) -> float:
    return float(weights @ (np.logaddexp(0.0, logits) - labels * logits))
