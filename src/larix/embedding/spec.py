"""What a table is made of: dim, precision, optimizer, how its rows are born. Knows nothing of where rows live."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_args

from larix.embedding.admission import Admission
from larix.embedding.eviction import Eviction
from larix.embedding.init import Init, Uniform
from larix.embedding.optimizer import Optimizer, RowAdagrad, state_width
from larix.embedding.precision import Precision, weight_bytes
from larix.embedding.ranges import LARGEST, bounded
from larix.embedding.schedule import Schedule
from larix.errors import ConfigError

_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")  # a surrogate, as JSON may hold one alone


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSpec:
    """One table: ``dim`` weights a row, an optimizer, an initialiser. No two tables share a row.

    ``precision``: what weights are kept as between steps; they are read, and given, as float32. Optimizer state is
    float32 always. ``admission``: which ids get a row when they are met in training; None: all. ``eviction``: which
    rows go when memory is short; None: none ever does. ``default``: every weight that an id without a row reads, rounded
    to the precision.
    """

    name: str
    dim: int
    optimizer: Optimizer = RowAdagrad()
    init: Init = Uniform()
    precision: Precision = "fp32"
    admission: Admission | None = None
    eviction: Eviction | None = None
    default: float = 0.0

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a table needs a name")
        if not isinstance(self.name, str) or _HALF_A_CHARACTER.search(self.name):
            raise ConfigError(f"a table is named {self.name!r:.50}; a name is a text that UTF-8 can hold")
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or not 1 <= self.dim <= 4096:
            raise ConfigError(
                f"table '{self.name}' has dim {self.dim!r:.50}; it must be a whole number between 1 and 4096"
            )
        if self.precision not in get_args(Precision):
            raise ConfigError(
                f"table '{self.name}' has precision {self.precision!r}; it must be one of {list(get_args(Precision))}"
            )
        bounded(self, -LARGEST, default=self.default)

    @property
    def state(self) -> int:
        """Number of float32 values of optimizer state in a row."""
        return state_width(self.optimizer, self.dim)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row's weights and state in memory, without its header and its share of the index."""
        return weight_bytes(self.precision, self.dim) + 4 * self.state

    def to_json(self) -> dict[str, Any]:
        """Return what ``json`` can write and ``from_json`` turns back into an equal spec."""
        return {
            "name": self.name,
            "dim": self.dim,
            "precision": self.precision,
            "optimizer": _write(self.optimizer),
            "init": _write(self.init),
            "admission": self.admission and _write(self.admission),
            "eviction": self.eviction and _write(self.eviction),
            "default": self.default,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "TableSpec":
        """Read what ``to_json`` wrote; ConfigError names a kind or a setting that is not known."""
        return cls(
            name=given["name"],
            dim=given["dim"],
            precision=given.get(
                "precision", "fp32"
            ),  # absent before there was a choice, as are those after init
            optimizer=_read(given["optimizer"], get_args(Optimizer)),
            init=_read(given["init"], get_args(Init)),
            admission=_read(given["admission"], get_args(Admission)) if given.get("admission") else None,
            eviction=_read(given["eviction"], get_args(Eviction)) if given.get("eviction") else None,
            default=given.get("default", 0.0),
        )


def _write(settings: Any) -> dict[str, Any]:
    """A dataclass of settings as JSON values under its class's name, those it holds alike."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {"kind": type(settings).__name__} | {
        name: _write(value) if is_dataclass(value) else value for name, value in values.items()
    }


def _read(given: Mapping[str, Any], kinds: tuple[type[Any], ...]) -> Any:
    settings = dict(given)
    name = settings.pop("kind", None)
    for kind in kinds:
        if kind.__name__ == name:
            known = {field.name for field in fields(kind)}
            if not settings.keys() <= known:
                raise ConfigError(f"{name} has no {sorted(settings.keys() - known)}; it has {sorted(known)}")
            return kind(
                **{
                    key: _read(value, get_args(Schedule)) if isinstance(value, Mapping) else value
                    for key, value in settings.items()
                }
            )
    raise ConfigError(f"'{name}' is not one of {[kind.__name__ for kind in kinds]}")
