"""A slot of ids as other rooms see it, and the checks that declarations share.

Knows no columns and no features.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from larix.batch import Ids, Jagged
from larix.errors import ConfigError

Pool = Literal["sum", "mean", "sequence"]


@dataclass(frozen=True, kw_only=True, slots=True)
class IdSlot:
    """Ids of ``table`` (``dim`` floats a row) and how their rows are pooled.

    An element of a sequence has a name like ``history.video`` and the pool ``sequence``: one row a position.
    """

    name: str
    table: str
    dim: int
    pool: Pool


def check_column(owner: object, column: object) -> None:
    """Raise ConfigError unless ``column`` can name an input column."""
    if not isinstance(column, str) or not column:
        raise ConfigError(f"{type(owner).__name__} reads a column by its name, a string, but got {column!r}")


def check_table(owner: object, column: str, dim: int | None, table: str | None) -> None:
    """Raise ConfigError unless ``column`` can name a column, and ``dim`` and ``table`` a table."""
    check_column(owner, column)
    name = f"{type(owner).__name__}('{column}')"
    if dim is not None and (type(dim) is not int or not 1 <= dim <= 4096):
        raise ConfigError(f"{name} has dim {dim!r}; it must be a whole number between 1 and 4096")
    if table is not None and (not isinstance(table, str) or not table):
        raise ConfigError(f"{name} has table {table!r}; a table is named by a string that is not empty")


def check_number(name: str, key: str, value: object) -> float:
    """``value`` as a float. Raises ConfigError unless it is a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ConfigError(f"{name} has {key}={value!r}; it must be a finite number")
    return float(value)


def jagged(ids: Ids, known: NDArray[np.bool_] | None) -> tuple[Jagged, int]:
    """One id a sample with those not ``known`` left out, and how many those are."""
    if known is None:
        return Jagged(ids), 0
    offsets = np.zeros(len(ids) + 1, np.int64)
    np.cumsum(known, out=offsets[1:])
    return Jagged(ids[known], offsets), len(ids) - int(offsets[-1])
