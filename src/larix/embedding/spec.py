"""What a table is made of: its dim, its optimizer, how its rows are born. Knows nothing of where rows live."""

import math
from dataclasses import dataclass

from larix.errors import ConfigError


def _positive(owner: object, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{type(owner).__name__}.{name} is {value}; it must be a finite number above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class SGD:
    """``w -= lr * g``. No state."""

    lr: float = 0.05

    def __post_init__(self) -> None:
        _positive(self, lr=self.lr)


@dataclass(frozen=True, kw_only=True, slots=True)
class Adagrad:
    """``s += g * g; w -= lr * g / (sqrt(s) + eps)``: Duchi et al., JMLR 2011. State: ``dim`` floats, first ``initial``."""

    lr: float = 0.05
    eps: float = 1e-8
    initial: float = 0.0

    def __post_init__(self) -> None:
        _positive(self, lr=self.lr, eps=self.eps)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowAdagrad:
    """``s += mean(g * g); w -= lr * g / (sqrt(s) + eps)``: one state float a row, as in production recommenders."""

    lr: float = 0.05
    eps: float = 1e-8
    initial: float = 0.0

    def __post_init__(self) -> None:
        _positive(self, lr=self.lr, eps=self.eps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Adam:
    """Adam (Kingma and Ba, 2015) on touched rows only, each row with a step count of its own for bias correction.

    State: ``2 * dim + 1`` floats.
    """

    lr: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _positive(self, lr=self.lr, eps=self.eps)
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"Adam.{name} is {getattr(self, name)}; it must be in [0, 1)")


Optimizer = SGD | Adagrad | RowAdagrad | Adam


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """Every weight is born as ``value``."""

    value: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Uniform:
    """Weights are born uniform in ``[-scale, scale)``, a pure function of (seed, table, id)."""

    scale: float = 0.05

    def __post_init__(self) -> None:
        _positive(self, scale=self.scale)


@dataclass(frozen=True, kw_only=True, slots=True)
class Normal:
    """Weights are born about normal with ``std`` (the sum of four uniforms, bounded at 3.5 std), a pure function of (seed, table, id)."""

    std: float = 0.01

    def __post_init__(self) -> None:
        _positive(self, std=self.std)


Init = Constant | Uniform | Normal


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSpec:
    """One table: ``dim`` float32 weights a row, an optimizer, an initialiser. Two tables never share a row, whatever their ids."""

    name: str
    dim: int
    optimizer: Optimizer = RowAdagrad()
    init: Init = Uniform()

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a table needs a name")
        if not 1 <= self.dim <= 4096:
            raise ConfigError(f"table '{self.name}' has dim {self.dim}; it must be between 1 and 4096")
