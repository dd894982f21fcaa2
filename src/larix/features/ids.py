"""Id features: one id a sample, many ids a sample, a cross of two columns.

Knows nothing of tables' rows or of numbers.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from larix.errors import ConfigError
from larix.features.slot import Pool, check_column, check_table


@dataclass(frozen=True, slots=True)
class Id:
    """One id a sample, of any integer, boolean or string column.

    Integers keep their 64 bits (uint64 wraps to int64), strings become XXH3-64 of their UTF-8 bytes. A null
    is no id: the slot reads a zero vector. ``table``: the table to share; by default one named like the slot.
    ``dim`` may be left out when another slot of that table gives it.
    """

    column: str
    _: KW_ONLY
    dim: int | None = None
    table: str | None = None
    pool: ClassVar[Pool] = "sum"

    def __post_init__(self) -> None:
        check_table(self, self.column, self.dim, self.table)

    @property
    def columns(self) -> tuple[str, ...]:
        """Input columns it reads."""
        return (self.column,)


@dataclass(frozen=True, slots=True)
class Ids:
    """Many ids a sample, of a list column; their rows are summed or averaged, weighted by the list column
    ``weights``.

    Of a longer list the last ``newest`` are kept (None keeps all), then null ids are dropped with their
    weights. A null list is an empty one. Weights must be finite and their lists as long as the ids'.
    """

    column: str
    _: KW_ONLY
    dim: int | None = None
    table: str | None = None
    pool: Literal["sum", "mean"] = "mean"
    weights: str | None = None
    newest: int | None = None

    def __post_init__(self) -> None:
        check_table(self, self.column, self.dim, self.table)
        if self.pool not in ("sum", "mean"):
            raise ConfigError(f"Ids('{self.column}') pools by {self.pool!r}; use 'sum' or 'mean'")
        if self.weights is not None:
            check_column(self, self.weights)
        if self.newest is not None and (type(self.newest) is not int or self.newest < 1):
            raise ConfigError(
                f"Ids('{self.column}') keeps newest={self.newest!r}; use a number above 0, or None for all"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Input columns it reads."""
        return (self.column,) if self.weights is None else (self.column, self.weights)


@dataclass(frozen=True, slots=True)
class Cross:
    """The pair of two columns' ids as one id: ``mix(mix(left) ^ right)``, with ``mix`` the 64-bit finaliser
    of SplitMix64.

    For a fixed left id different right ids never collide, nor the other way round; two pairs that differ in
    both collide with probability 2^-64. A null on either side is no id.
    """

    left: str
    right: str
    _: KW_ONLY
    dim: int | None = None
    table: str | None = None
    pool: ClassVar[Pool] = "sum"

    def __post_init__(self) -> None:
        check_table(self, self.left, self.dim, self.table)
        check_column(self, self.right)

    @property
    def columns(self) -> tuple[str, ...]:
        """Input columns it reads."""
        return (self.left, self.right)
