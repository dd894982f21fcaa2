"""How much memory tables will take, and how many rows fit in a budget. Arithmetic only: no store is made."""

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import cast, get_args

from larix.embedding import budget
from larix.embedding.admission import ByCount
from larix.embedding.eviction import LeastRecent
from larix.embedding.optimizer import Optimizer
from larix.embedding.precision import Precision
from larix.embedding.spec import TableSpec
from larix.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One table of a plan. ``ids``: that will ask for a row; ``rows``: that fit; ``bytes``: of those, index included."""

    spec: TableSpec
    ids: int
    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Bytes of a store. ``needed``: with a row for every id; ``bytes``: with the rows that fit in ``budget``."""

    lines: tuple[Line, ...]
    sketches: int
    needed: int
    bytes: int
    budget: int | None


def plan(ids: Mapping[TableSpec, int], memory_budget: int | str | None = None) -> Plan:
    """Return what a store takes whose tables meet so many different ids, all admitted.

    Within a budget, tables without an eviction policy get all their rows, and the others the same share of theirs, as
    rows compete: which tables the evicted rows are of depends on how they are used. ConfigError if the budget cannot
    hold the tables without a policy.
    """
    limit = budget.parse(memory_budget)
    sketches = budget.sketch_bytes(ids)
    needed = _bytes(ids) + sketches
    rows = dict(ids)
    if limit is not None and needed > limit:
        rows = _share(ids, limit - sketches)
    lines = tuple(
        Line(spec=spec, ids=ids[spec], rows=count, bytes=_alone(spec, count, rows))
        for spec, count in rows.items()
    )
    return Plan(lines=lines, sketches=sketches, needed=needed, bytes=_bytes(rows) + sketches, budget=limit)


def read_tables(
    words: Sequence[str],
    *,
    optimizer: str = "RowAdagrad",
    precision: str = "fp32",
    keep: Container[str] = (),
    admit_at: int = 0,
) -> dict[TableSpec, int]:
    """Return specs and numbers of ids of tables told as ``[NAME=]IDSxDIM``, such as ``video=20Mx32``.

    Nothing is evicted from tables named in ``keep``. ConfigError names the word that is not understood.
    """
    kinds = {kind.__name__.lower(): kind for kind in get_args(Optimizer)}
    if optimizer.lower() not in kinds:
        raise ConfigError(
            f"'{optimizer}' is no optimizer of rows; there are {sorted(kind.__name__ for kind in kinds.values())}"
        )
    found: dict[TableSpec, int] = {}
    for number, word in enumerate(words):
        parts = re.fullmatch(r"(?:([^=]+)=)?([\d_,]+(?:\.\d+)?)([kKMG]?)[x*](\d+)", word)
        if not parts:
            raise ConfigError(f"'{word}' is no table; write [NAME=]IDSxDIM, such as video=20Mx32")
        name, ids, scale, dim = parts.groups()
        spec = TableSpec(
            name=name or f"table {number}",
            dim=int(dim),
            optimizer=kinds[optimizer.lower()](),
            precision=cast(Precision, precision),  # which the spec checks
            admission=ByCount(n=admit_at) if admit_at else None,
            eviction=None if name in keep else LeastRecent(),
        )
        count = float(re.sub("[_,]", "", ids)) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[scale.lower()]
        if any(spec.name == other.name for other in found):
            raise ConfigError(f"table '{spec.name}' is there twice; give each table one word")
        found[spec] = round(count)
    return found


def _share(ids: Mapping[TableSpec, int], limit: int) -> dict[TableSpec, int]:
    """The largest share of the tables with a policy that fits, found by halving."""
    parts = 1 << 40

    def rows(part: int) -> dict[TableSpec, int]:
        return {spec: count * part // parts if spec.eviction else count for spec, count in ids.items()}

    least = _bytes(rows(0))
    if least > limit:
        raise ConfigError(
            f"the tables without an eviction policy take {least} bytes, more than the {limit} that the memory budget "
            f"leaves them; give at least {budget.shown(least)}, or an eviction policy to more tables"
        )
    low, high = 0, parts
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _bytes(rows(middle)) <= limit else (low, middle)
    return rows(low)


def _bytes(rows: Mapping[TableSpec, int]) -> int:
    return sum(_group_bytes(spec, group) for spec, group in _groups(rows).values())


def _alone(spec: TableSpec, count: int, rows: Mapping[TableSpec, int]) -> int:
    """A table's part of its group's bytes, by rows."""
    _, group = _groups(rows)[budget.kind(spec)]
    whole = _group_bytes(spec, group)
    return round(whole * count / total) if (total := sum(group.values())) else whole // len(group)


def _group_bytes(spec: TableSpec, group: Mapping[int, int]) -> int:
    return budget.index_bytes(group) + budget.slab_bytes(spec, sum(group.values()))


def _groups(rows: Mapping[TableSpec, int]) -> dict[object, tuple[TableSpec, dict[int, int]]]:
    """Of each group one of its tables, and the rows of all by the table's number."""
    groups: dict[object, tuple[TableSpec, dict[int, int]]] = {}
    for number, (spec, count) in enumerate(rows.items(), 1):
        groups.setdefault(budget.kind(spec), (spec, {}))[1][number] = count
    return groups
