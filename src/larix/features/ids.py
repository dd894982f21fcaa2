"""Id features: one id a sample, many ids a sample, a cross of two columns.

Knows nothing of tables' rows or of numbers.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import numpy as np

from larix.batch import Floats, Jagged
from larix.errors import ConfigError
from larix.features import kernels
from larix.features.kernels import ListView
from larix.features.records import ID, NUMBER, Records
from larix.features.slot import Pool, check_column, check_table, jagged


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

    def read(self, records: Records) -> Callable[[], tuple[Jagged, int]]:
        """Plan to read it; called after the run, gives its ids and how many samples have none."""
        view = records.flat(self.column, ID)
        ids = records.ids(self.column, view)
        return lambda: jagged(ids(), kernels.read_known(view, None) if view.nulls else None)


def parse_id(word: str) -> int:
    """The id that ``word`` stands for: a whole number of 64 bits, signed or not, is itself; other text is hashed as a string
    column's would be.
    """
    try:
        number = int(word)
    except ValueError:
        number = kernels.xxh3(word.encode())
    if not -(1 << 63) <= number < 1 << 64:
        raise ConfigError(f"id {word} has more than 64 bits; ids are int64 or uint64, or text")
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


@dataclass(frozen=True, slots=True)
class Ids:
    """Many ids a sample, of a list column; their rows are pooled, weighted by the list column ``weights``.

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

    def read(self, records: Records) -> Callable[[], tuple[Jagged, int]]:
        """Plan to read it; called after the run, gives its ids and how many nulls, ids or lists, it had."""
        view = records.lists(self.column, ID)
        ranges = records.ranges(self.column, view, self.newest)
        ids = records.ids(self.column, view.child, ranges)
        known = kernels.read_known(view.child, ranges) if view.child.nulls else None
        weights = None if self.weights is None else self._weights(records, self.weights, view, known)

        def done() -> tuple[Jagged, int]:
            nulls = view.array.null_count
            if known is None or known.all():
                return Jagged(ids(), ranges.offsets, weights), nulls
            kept = np.zeros(len(known) + 1, np.int64)
            np.cumsum(known, out=kept[1:])
            left = Jagged(ids()[known], kept[ranges.offsets], None if weights is None else weights[known])
            return left, nulls + len(known) - int(kept[-1])

        return done

    def _weights(self, records: Records, column: str, ids: ListView, known: kernels.Mask | None) -> Floats:
        view = records.lists(column, NUMBER)
        records.same_lengths(self.column, ids, column, view, "an id and its weight must be at one place")
        ranges = records.ranges(column, view, self.newest)
        with np.errstate(over="ignore"):
            weights = kernels.read_numbers(view.child, ranges).astype(np.float32)
        wrong = ~np.isfinite(weights) if known is None else ~np.isfinite(weights) & known
        if wrong.any():
            records.fail(column, view.child, int(np.argmax(wrong)), ranges, "a weight must be finite")
        return weights


@dataclass(frozen=True, slots=True)
class Cross:
    """The pair of two columns' ids as one id: ``mix(mix(left) ^ right)``, mix the finaliser of SplitMix64.

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

    def read(self, records: Records) -> Callable[[], tuple[Jagged, int]]:
        """Plan to read it; called after the run, gives its ids and how many samples have none."""
        left, right = records.flat(self.left, ID), records.flat(self.right, ID)
        ids, number = records.reads.cross(left, right)

        def done() -> tuple[Jagged, int]:
            wrong, at, _ = records.reads.status(number)
            if wrong:
                records.damaged(self.columns[wrong - 1], at)
            masks = [kernels.read_known(view, None) for view in (left, right) if view.nulls]
            return jagged(ids, np.logical_and.reduce(masks) if masks else None)

        return done
