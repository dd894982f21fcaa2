"""The oracle's memory budget: which rows go so that others fit in. Sorts all rows, where the native core sweeps by a sample."""

from collections.abc import Mapping

import numpy as np

from larix.batch import Ids
from larix.embedding.budget import row_bytes
from larix.embedding.eviction import Eviction, TimeToLive
from larix.embedding.reference.evict import elapsed
from larix.embedding.reference.rows import Places, Rows
from larix.errors import ConfigError


def expire(table: Rows, clock: int) -> int:
    """Drop the rows whose time is over; return how many."""
    policy = table.spec.eviction
    if not isinstance(policy, TimeToLive):
        return 0
    places = _alive(table)
    over = elapsed(clock, table.seen[places]) > policy.age
    return table.drop(table.ids[places[over]])


def make(
    tables: Mapping[str, Rows],
    budget: int,
    new: Mapping[str, Ids],
    held: Mapping[str, Ids],
    clock: int,
    must: bool = False,
) -> tuple[int, dict[str, Ids]]:
    """Drop rows, none of the ids ``held``, until the rows ``new`` fit in ``budget`` bytes.

    Returns how many were dropped, and those of ``new`` that fit. ConfigError if tables without an eviction policy do not
    fit on their own, or with ``must`` all of ``new``; nothing is dropped then.
    """
    cost = {name: row_bytes(table.spec) for name, table in tables.items()}
    used = sum(table.bytes for table in tables.values())
    pools = _pools(tables, held)
    spare = sum(cost[name] * len(places) for pool in pools.values() for name, places in pool.items())
    fixed = sum(len(ids) * cost[name] for name, ids in new.items() if must or not tables[name].spec.eviction)
    if used - spare + fixed > budget:
        raise ConfigError(
            f"rows that may not be evicted need {used - spare + fixed} bytes but the memory budget leaves {budget}; "
            "give a larger memory_budget, or an eviction policy to more tables"
        )
    short = used + sum(len(ids) * cost[name] for name, ids in new.items()) - budget
    dropped = 0
    for policy, pool in pools.items():
        size = sum(cost[name] * len(places) for name, places in pool.items())
        if short > 0 and size:
            dropped += _evict(tables, policy, pool, min(size, -(-short * size // spare)), clock)
    room = budget - sum(table.bytes for table in tables.values())
    kept = {}
    for name in sorted(new, key=lambda name: tables[name].spec.eviction is not None):
        kept[name] = new[name][: room // cost[name]]
        room -= len(kept[name]) * cost[name]
    return dropped, kept


def _pools(tables: Mapping[str, Rows], held: Mapping[str, Ids]) -> dict[Eviction, dict[str, Places]]:
    """The rows that may go, by policy: rows of tables with an equal policy compete with each other."""
    pools: dict[Eviction, dict[str, Places]] = {}
    for name, table in tables.items():
        if table.spec.eviction is not None:
            places = _alive(table)
            free = ~np.isin(table.ids[places], held.get(name, np.zeros(0, np.int64)))
            pools.setdefault(table.spec.eviction, {})[name] = places[free]
    return pools


def _evict(
    tables: Mapping[str, Rows], policy: Eviction, pool: dict[str, Places], size: int, clock: int
) -> int:
    """Drop rows of least priority until ``size`` bytes are free."""
    names = [name for name, places in pool.items() for _ in range(len(places))]
    places = np.concatenate(list(pool.values()))
    priorities = np.concatenate([tables[name].priority(each, clock) for name, each in pool.items()])
    gone: dict[str, list[int]] = {}
    for at in np.argsort(priorities, kind="stable").tolist():
        if size <= 0:
            break
        table = tables[names[at]]
        gone.setdefault(names[at], []).append(int(table.ids[places[at]]))
        size -= row_bytes(table.spec)
    return sum(tables[name].drop(np.array(ids, np.int64)) for name, ids in gone.items())


def _alive(table: Rows) -> Places:
    return np.flatnonzero(table.alive)
