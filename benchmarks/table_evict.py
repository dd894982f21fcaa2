"""What eviction costs whoever looks rows up: the same calls on a store that is full and on one that has room for all.

Every turn brings new ids, so that the full store evicts all the time, ahead of need, on its background thread. Measured are
lookups that change nothing, as of a server beside the training, and whole training steps. The two stores take turns.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from measure import emit
from numpy.typing import NDArray

from larix.embedding import FeatureScore, LeastRecent, RowAdagrad, Tables, TableSpec
from larix.embedding.eviction import Eviction
from larix.embedding.plan import plan

DIM = 16
BATCH = 8192
SLOTS = 4
NEW = 0.05  # of the ids of a step


class Load:
    """A store and the calls made of it: ids by a power law over those it was filled with, and ever new ones."""

    def __init__(self, policy: Eviction, rows: int, limited: bool) -> None:
        self.spec = TableSpec(name="a", dim=DIM, optimizer=RowAdagrad(), eviction=policy)
        budget = plan({self.spec: rows}).bytes if limited else None
        self.tables = Tables([self.spec], threads=1, memory_budget=budget)
        self.random = np.random.default_rng(7)
        self.rows = rows
        self.newest = 0
        self.out = np.empty((BATCH * SLOTS, DIM), np.float32)
        for start in range(0, rows, BATCH * SLOTS):
            self.tables.lookup("a", np.arange(start, start + BATCH * SLOTS), insert=True, out=self.out)
        self.newest = rows

    def known(self, count: int) -> NDArray[np.int64]:
        """Ids by a power law: the newest are asked for most."""
        ranks = (self.rows ** self.random.random(count)).astype(np.int64)
        return np.maximum(self.newest - ranks, 0)

    def step(self) -> float:
        count = BATCH * SLOTS
        fresh = int(NEW * count)
        ids = np.concatenate([self.known(count - fresh), np.arange(self.newest, self.newest + fresh)])
        self.newest += fresh
        clicks = (self.random.random(count) < 0.3).astype(np.float32)
        begun = time.perf_counter()
        self.tables.lookup("a", ids, insert=True, out=self.out)
        self.tables.update("a", ids, self.out, lr_scale=0.01, clicks=clicks)
        return time.perf_counter() - begun

    def lookup(self) -> float:
        ids = self.known(BATCH * SLOTS)
        begun = time.perf_counter()
        self.tables.lookup("a", ids, out=self.out)
        return time.perf_counter() - begun


def rounds(policy: Eviction, rows: int, turns: int) -> Iterator[tuple[str, str, list[float]]]:
    """Milliseconds of each call, by case and store."""
    loads = {"free": Load(policy, rows, limited=False), "full": Load(policy, rows, limited=True)}
    took: dict[tuple[str, str], list[float]] = {}
    for _ in range(turns):
        for name, load in loads.items():
            # A step now and then, many lookups in between: as in serving while training goes on.
            for case, call, times in (("step", load.step, 1), ("lookup", load.lookup, 4)):
                took.setdefault((case, name), []).extend(1e3 * call() for _ in range(times))
    full = loads["full"].tables
    stats = full.stats()
    assert stats.evicted > 0.5 * turns * NEW * BATCH * SLOTS, (
        "nothing was evicted: there is nothing to measure"
    )
    assert full.memory_budget is not None
    assert stats.bytes <= full.memory_budget
    for (case, name), values in took.items():
        yield case, name, values[len(values) // 10 :]


def measure(quick: bool, peers: bool) -> None:
    """Print p99 of the calls on a full store, and how many times that on one with room for all."""
    del peers  # no other table of theirs is bounded and evicts
    rows, turns, repeats = (1_000_000, 200, 2) if quick else (10_000_000, 400, 3)
    for title, policy in (("lru", LeastRecent()), ("score", FeatureScore(half_life=100.0))):
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(repeats):
            for case, name, values in rounds(policy, rows, turns):
                found.setdefault((case, name), []).append(float(np.percentile(values, 99)))
                found.setdefault((case, f"{name} median"), []).append(float(np.median(values)))
        for case in ("lookup", "step"):
            label = f"evict {case} {title} dim={DIM} rows={rows}"
            more: dict[str, Any] = {
                "threads": 1,
                "new": NEW,
                "p50_ms": round(np.median(found[case, "full median"]), 3),
            }
            emit("table", "larix", label, "p99_ms", found[case, "full"], "ms", **more)
            ratios = [
                one / other for one, other in zip(found[case, "full"], found[case, "free"], strict=True)
            ]
            emit("table", "larix", label, "p99_ratio", ratios, "")
            medians = zip(found[case, "full median"], found[case, "free median"], strict=True)
            emit("table", "larix", label, "p50_ratio", [one / other for one, other in medians], "")
