"""What a table is made of: dim, optimizer, how its rows are born. Knows nothing of where rows live."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from larix.embedding.admission import Admission
from larix.embedding.eviction import Eviction
from larix.errors import ConfigError

# Rows are float32: settings keep away from the ends of its range, so that none rounds to zero or infinity.
_SMALLEST, _LARGEST = 1e-30, 1e30


def _positive(owner: object, **values: float) -> None:
    for name, value in values.items():
        if not _SMALLEST <= value <= _LARGEST:
            raise ConfigError(
                f"{type(owner).__name__}.{name} is {value}; it must be between {_SMALLEST} and {_LARGEST}"
            )


def _bounded(owner: object, low: float, **values: float) -> None:
    for name, value in values.items():
        if not low <= value <= _LARGEST:
            raise ConfigError(
                f"{type(owner).__name__}.{name} is {value}; it must be between {low} and {_LARGEST}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SGD:
    """``w -= lr * g``. No state."""

    lr: float = 0.05

    def __post_init__(self) -> None:
        _positive(self, lr=self.lr)


@dataclass(frozen=True, kw_only=True, slots=True)
class Adagrad:
    """``s += g * g; w -= lr * g / (sqrt(s) + eps)`` (Duchi et al., 2011).

    State: ``dim`` floats, first ``initial``.
    """

    lr: float = 0.05
    eps: float = 1e-8
    initial: float = 0.0

    def __post_init__(self) -> None:
        _positive(self, lr=self.lr, eps=self.eps)
        _bounded(self, 0.0, initial=self.initial)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowAdagrad:
    """``s += mean(g * g); w -= lr * g / (sqrt(s) + eps)``: one state float a row, first ``initial``."""

    lr: float = 0.05
    eps: float = 1e-8
    initial: float = 0.0

    def __post_init__(self) -> None:
        _positive(self, lr=self.lr, eps=self.eps)
        _bounded(self, 0.0, initial=self.initial)


@dataclass(frozen=True, kw_only=True, slots=True)
class Adam:
    """Adam (Kingma and Ba, 2015) on touched rows only, each row with its own step count for bias correction.

    State: ``2 * dim + 1`` floats: both moments and the step count, first zero.
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

    def __post_init__(self) -> None:
        _bounded(self, -_LARGEST, value=self.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Uniform:
    """Weights are born uniform in ``[-scale, scale)``, a pure function of (seed, table, id)."""

    scale: float = 0.05

    def __post_init__(self) -> None:
        _positive(self, scale=self.scale)


@dataclass(frozen=True, kw_only=True, slots=True)
class Normal:
    """Weights are born about normal: a sum of four uniforms, bounded at 3.5 ``std``, pure as ``Uniform``."""

    std: float = 0.01

    def __post_init__(self) -> None:
        _positive(self, std=self.std)


Init = Constant | Uniform | Normal


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSpec:
    """One table: ``dim`` float32 weights a row, an optimizer, an initialiser. No two tables share a row.

    ``admission``: which ids get a row when they are met in training; None: all. ``eviction``: which rows go when memory
    is short; None: none ever does. ``default``: every weight that an id without a row reads.
    """

    name: str
    dim: int
    optimizer: Optimizer = RowAdagrad()
    init: Init = Uniform()
    admission: Admission | None = None
    eviction: Eviction | None = None
    default: float = 0.0

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a table needs a name")
        if not 1 <= self.dim <= 4096:
            raise ConfigError(f"table '{self.name}' has dim {self.dim}; it must be between 1 and 4096")
        _bounded(self, -_LARGEST, default=self.default)

    @property
    def state(self) -> int:
        """Number of float32 values of optimizer state in a row."""
        match self.optimizer:
            case SGD():
                return 0
            case Adagrad():
                return self.dim
            case RowAdagrad():
                return 1
            case Adam():
                return 2 * self.dim + 1

    @property
    def initial_state(self) -> float:
        """What every state value of a new row is."""
        return self.optimizer.initial if isinstance(self.optimizer, Adagrad | RowAdagrad) else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return what ``json`` can write and ``from_json`` turns back into an equal spec."""
        return {
            "name": self.name,
            "dim": self.dim,
            "optimizer": {"kind": type(self.optimizer).__name__} | asdict(self.optimizer),
            "init": {"kind": type(self.init).__name__} | asdict(self.init),
            "admission": self.admission and {"kind": type(self.admission).__name__} | asdict(self.admission),
            "eviction": self.eviction and {"kind": type(self.eviction).__name__} | asdict(self.eviction),
            "default": self.default,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "TableSpec":
        """Read what ``to_json`` wrote; ConfigError names a kind or a setting that is not known."""
        return cls(
            name=given["name"],
            dim=given["dim"],
            optimizer=_read(given["optimizer"], get_args(Optimizer)),
            init=_read(given["init"], (Constant, Uniform, Normal)),
            # what was written before there were policies has none
            admission=_read(given["admission"], get_args(Admission)) if given.get("admission") else None,
            eviction=_read(given["eviction"], get_args(Eviction)) if given.get("eviction") else None,
            default=given.get("default", 0.0),
        )


def _read(given: Mapping[str, Any], kinds: tuple[type[Any], ...]) -> Any:
    settings = dict(given)
    name = settings.pop("kind", None)
    for kind in kinds:
        if kind.__name__ == name:
            known = {field.name for field in fields(kind)}
            if not settings.keys() <= known:
                raise ConfigError(f"{name} has no {sorted(settings.keys() - known)}; it has {sorted(known)}")
            return kind(**settings)
    raise ConfigError(f"'{name}' is not one of {[kind.__name__ for kind in kinds]}")
