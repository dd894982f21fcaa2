"""Bucket: a number turned into a small id by edges, given or fitted as quantiles.

Knows nothing of how edges are fitted.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from larix.batch import Jagged
from larix.errors import ConfigError
from larix.features.records import NUMBER, Records
from larix.features.slot import Pool, check_number, check_table


@dataclass(frozen=True, slots=True)
class Bucket:
    """The id ``1 + number of edges at or below the value``; null and NaN are bucket 0, one like any other.

    Give ``edges``, strictly increasing, or ``quantiles``, the number of equally filled buckets for
    ``Sample.fit`` to find edges for (fewer where values repeat). A fitted bucket has both.
    """

    column: str
    _: KW_ONLY
    quantiles: int | None = None
    edges: tuple[float, ...] | None = None
    dim: int | None = None
    table: str | None = None
    pool: ClassVar[Pool] = "sum"

    def __post_init__(self) -> None:
        check_table(self, self.column, self.dim, self.table)
        name = f"Bucket('{self.column}')"
        if self.quantiles is None and self.edges is None:
            raise ConfigError(f"{name} has no edges; give edges=(...) or quantiles=32 and call Sample.fit")
        if self.quantiles is not None and (type(self.quantiles) is not int or self.quantiles < 2):
            raise ConfigError(
                f"{name} has quantiles={self.quantiles!r}; it must be a whole number of at least 2"
            )
        if self.edges is not None:
            if not isinstance(self.edges, tuple | list) or not self.edges:
                raise ConfigError(f"{name} has edges={self.edges!r}; give a tuple of at least one number")
            edges = tuple(check_number(name, "an edge", edge) for edge in self.edges)
            for left, right in pairwise(edges):
                if left >= right:
                    raise ConfigError(
                        f"{name} has edges {left} then {right}; they must be strictly increasing"
                    )
            object.__setattr__(self, "edges", edges)

    @property
    def columns(self) -> tuple[str, ...]:
        """Input columns it reads."""
        return (self.column,)

    @property
    def is_fitted(self) -> bool:
        """Whether the edges are known."""
        return self.edges is not None

    def read(self, records: Records) -> Callable[[], tuple[Jagged, int]]:
        """Plan to read it, once fitted; called after the run, gives its ids and how many were null or NaN."""
        assert self.edges is not None
        edges = np.asarray(self.edges, np.float64)
        ids, number = records.reads.buckets(records.flat(self.column, NUMBER), edges)
        return lambda: (Jagged(ids), records.reads.status(number)[2])
