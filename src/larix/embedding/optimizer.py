"""Optimizers of rows: settings and state. They step a row only when it has a gradient; see ``reference.step`` for how.

All share, row by row: ``schedule`` multiplies ``lr``; ``clip_grad`` scales the summed gradient down to this L2 norm before
all else; ``weight_decay`` then adds ``weight_decay * w`` to it (AdamW, LAMB: see there; FTRL has ``l2``); ``max_norm``
scales the weights down to this L2 norm after the step. None: not done."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from larix.embedding import ranges
from larix.embedding.schedule import Schedule
from larix.errors import ConfigError


def _check(optimizer: Any) -> None:
    """Raise a ConfigError for a setting out of range; settings of one name have one range in all optimizers."""
    for field in fields(optimizer):
        name, value = field.name, getattr(optimizer, field.name)
        match name:
            case "lr" | "eps" | "beta":
                ranges.positive(optimizer, **{name: value})
            case "beta1" | "beta2" | "momentum":
                ranges.fraction(optimizer, **{name: value})
            case "initial" | "weight_decay" | "l1" | "l2":
                ranges.bounded(optimizer, 0.0, **{name: value})
            case "clip_grad" | "max_norm":
                if value is not None:
                    ranges.positive(optimizer, **{name: value})
            case "schedule":
                if value is not None and not isinstance(value, Schedule):
                    raise ConfigError(
                        f"{type(optimizer).__name__}.schedule is {value!r}; it must be None or a schedule such as "
                        f"Warmup(steps=1000)"
                    )
            case _:
                assert name == "nesterov", f"{name} has no range"
                if not isinstance(value, bool):
                    raise ConfigError(
                        f"{type(optimizer).__name__}.nesterov is {value!r:.50}; it must be True or False"
                    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SGD:
    """``w -= lr * g``. No state."""

    lr: float = 0.05
    weight_decay: float = 0.0
    clip_grad: float | None = None
    max_norm: float | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Momentum:
    """``v = momentum * v + g; w -= lr * v``; with ``nesterov`` ``w -= lr * (g + momentum * v)``, as torch's SGD has it.

    State: ``dim`` floats, first zero. A row's ``v`` decays only when the row is stepped.
    """

    lr: float = 0.05
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    clip_grad: float | None = None
    max_norm: float | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Adagrad:
    """``s += g * g; w -= lr * g / (sqrt(s) + eps)`` (Duchi et al., 2011).

    State: ``dim`` floats, first ``initial``.
    """

    lr: float = 0.05
    eps: float = 1e-8
    initial: float = 0.0
    weight_decay: float = 0.0
    clip_grad: float | None = None
    max_norm: float | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowAdagrad:
    """``s += mean(g * g); w -= lr * g / (sqrt(s) + eps)``: one state float a row, first ``initial``."""

    lr: float = 0.05
    eps: float = 1e-8
    initial: float = 0.0
    weight_decay: float = 0.0
    clip_grad: float | None = None
    max_norm: float | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Adam:
    """Adam (Kingma and Ba, 2015) on touched rows only, each row with its own step count for bias correction.

    State: ``2 * dim + 1`` floats: both moments and the step count, first zero.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_grad: float | None = None
    max_norm: float | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamW:
    """Lazy AdamW (Loshchilov and Hutter, 2019): ``w *= 1 - lr * weight_decay``, then Adam's step on the gradient alone.

    Lazy: a row decays, and its moments and step count move, only in steps that bring it a gradient. A dense AdamW decays
    every row in every step; here a row seen in one step of a hundred decays a hundredth as often, so that a rare id is not
    forgotten between its visits. On rows that are touched in every step the two are the same. State: as Adam's.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip_grad: float | None = None
    max_norm: float | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class FTRL:
    """FTRL-proximal (McMahan et al., KDD 2013), column by column; ``lr`` is the paper's alpha.

    ``n' = n + g * g; z += lr * g - (sqrt(n') - sqrt(n)) * w``, and the weights follow from them: 0 where
    ``|z| <= lr * l1``, else ``-(z - sign(z) * lr * l1) / (beta + sqrt(n') + lr * l2)``.

    State: ``2 * dim`` floats, z (the paper's times alpha) and n. n is first ``initial``; z is first what a row's first
    weights follow from, so that a row goes on from where it was born, and with ``l1 = l2 = 0`` steps as Adagrad with eps =
    ``beta``. Weights that are to stay 0 until their gradients outweigh ``l1`` are born by ``Constant()``.
    ``schedule`` and lr_scale multiply the ``lr`` of ``lr * g`` alone: at 0 no weight moves.
    """

    lr: float = 0.05
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    initial: float = 0.0
    clip_grad: float | None = None
    max_norm: float | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class LAMB:
    """LAMB (You et al., ICLR 2020) with a row as its layer: ``w -= lr * (|w| / |u|) * u``, where ``u`` is Adam's step
    without lr plus ``weight_decay * w``; the ratio is 1 where either norm is 0. Lazy as AdamW is. State: as Adam's.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-6
    weight_decay: float = 0.01
    clip_grad: float | None = None
    max_norm: float | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        _check(self)


Optimizer = SGD | Momentum | Adagrad | RowAdagrad | Adam | AdamW | FTRL | LAMB


def state_width(optimizer: Optimizer, dim: int) -> int:
    """Number of float32 values of state in a row."""
    match optimizer:
        case SGD():
            return 0
        case RowAdagrad():
            return 1
        case Momentum() | Adagrad():
            return dim
        case FTRL():
            return 2 * dim
        case Adam() | AdamW() | LAMB():
            return 2 * dim + 1


def rate(optimizer: Optimizer, step: int, lr_scale: float) -> np.float32:
    """Return the lr of the store's step number ``step``: in float64, rounded once."""
    factor = 1.0 if optimizer.schedule is None else optimizer.schedule.factor(step)
    return np.float32(optimizer.lr * factor * lr_scale)
