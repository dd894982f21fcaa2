"""What versions cost: training beside a snapshot and without in turn, the bytes of its copies, deltas of touched rows.

A process each; no peer is asked: none takes a snapshot of one instant while it trains.
"""

import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import Worker, emit, work
from table_grow import rss
from table_larix import NAMES, batch, layout, specs
from table_work import BATCH, DISTRIBUTIONS, IDS, SLOTS, gradients, keys, numbered, positions

from larix.embedding import DeltaLog, Follower, Tables, storage

DIM = 16
SECONDS = 1.0  # of training alone, before and after a snapshot
TOUCHED = (1_000, 10_000, 100_000, 1_000_000)
UNITS = {
    "share_of_speed": "ratio",  # training beside a snapshot, to training alone
    "rows_per_s": "rows/s",  # of training beside a snapshot
    "snapshot_s": "s",
    "held_bytes": "bytes",  # that copies took in memory at most
    "file_bytes": "bytes",  # that went to a file, being more
    "extra_rss_bytes": "bytes",  # as the system sees it
    "changes_s": "s",  # until what was touched is copied, at one instant
    "append_s": "s",  # until it is synced on disk
    "follow_s": "s",  # until another store has read it
}
Told = dict[str, dict[str, float]]  # metrics by case


def measure(quick: bool, peers: bool) -> None:
    """Emit ``snapshot`` read and saved beside training, and ``delta``: one thread of the store and all."""
    del peers
    rows, rounds = (1_000_000, 3) if quick else (10_000_000, 7)
    for threads in dict.fromkeys((1, len(os.sched_getaffinity(0)))):
        for what in PARTS:
            worker = Worker(sys.executable, str(Path(__file__).resolve()), [what, str(threads), str(rows)])
            told = [worker.round() for _ in range(rounds)]
            worker.end()
            for case, metrics in told[0].items():
                for metric in metrics:
                    values = [each[case][metric] for each in told]
                    name = f"{case} dim={DIM} threads={threads}"
                    emit("table", "larix", name, metric, values, UNITS[metric], rows=rows)


def filled(threads: int, rows: int) -> Tables:
    """A store whose rows are all there."""
    tables, each = Tables(specs(DIM), threads=threads), rows // SLOTS
    for at, name in enumerate(NAMES):
        for numbers in np.array_split(np.arange(at * each, (at + 1) * each), 8):
            tables.lookup(name, keys(numbers), insert=True)
    return tables


def snapshots(tables: Tables, rows: int, folder: Path) -> Callable[[], Told]:
    """Rounds of training beside snapshots that are only read, and that are saved."""
    plan, out, given = layout(DIM), np.empty((BATCH, SLOTS * DIM), np.float32), [gradients(DIM)]
    pools = {
        distribution: itertools.cycle(
            [batch(ids) for ids in keys(numbered(positions(distribution, rows), rows))]
        )
        for distribution in DISTRIBUTIONS
    }

    def one_round() -> Told:
        told = {}
        for distribution, pool in pools.items():

            def step(pool: itertools.cycle = pool) -> None:
                tables.apply(tables.gather(plan, next(pool), [out]), given)

            for name, take in (("read", read), ("save", save)):
                told[f"snapshot {name} {distribution}"] = beside(step, lambda take=take: take(tables, folder))
        return told

    return one_round


def read(tables: Tables, folder: Path) -> dict[str, float]:
    with tables.snapshot(folder=folder) as snapshot:
        for _ in snapshot:
            pass
        memory, file = snapshot.held()
        return {"held_bytes": memory, "file_bytes": file}


def save(tables: Tables, folder: Path) -> dict[str, float]:
    tables.save(folder / "saved")
    return {}


def beside(step: Callable[[], None], take: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Train for a while alone, then for as long as a snapshot takes, then alone again."""
    told: dict[str, float] = {}

    def take_one() -> None:
        start = time.perf_counter()
        told.update(take())
        told["snapshot_s"] = time.perf_counter() - start

    def speed(done: Callable[[], bool]) -> float:
        start, count = time.perf_counter(), 0
        while not done():
            step()
            count += 1
        return count * IDS / (time.perf_counter() - start)

    def alone() -> float:
        end = time.perf_counter() + SECONDS
        return speed(lambda: time.perf_counter() > end)

    before, at_rest, highest = alone(), rss(), [0]
    taker = threading.Thread(target=take_one)

    def taken() -> bool:
        highest.append(rss())
        return not taker.is_alive()

    taker.start()
    told["rows_per_s"] = speed(taken)
    taker.join()
    told["share_of_speed"] = told["rows_per_s"] / ((before + alone()) / 2)
    told["extra_rss_bytes"] = max(max(highest) - at_rest, 0)
    return told


def deltas(tables: Tables, rows: int, folder: Path) -> Callable[[], Told]:
    """Rounds of some rows touched, appended to a log, and read into another store."""
    rng, each = np.random.default_rng(3), rows // SLOTS
    log = DeltaLog(folder / "log", tables)
    replica = Tables.load(folder / "log")
    follower = Follower(folder / "log")

    def one_round() -> Told:
        return {f"delta n={touched}": one_delta(touched // SLOTS) for touched in TOUCHED if touched < rows}

    def one_delta(count: int) -> dict[str, float]:
        for at, name in enumerate(NAMES):
            ids = keys(at * each + rng.choice(each, count, replace=False))
            tables.update(name, ids, np.ones((count, DIM), np.float32))
        start = time.perf_counter()
        changes = tables.changes(log.instant.sequence)
        copied = time.perf_counter()
        log.append()
        appended = time.perf_counter()
        for news in follower.poll():
            storage.merge(replica, news)
        read_in = time.perf_counter()
        assert sum(len(of.ids) for of in changes.tables.values()) == count * SLOTS
        return {"changes_s": copied - start, "append_s": appended - copied, "follow_s": read_in - appended}

    return one_round


PARTS = {"snapshot": snapshots, "delta": deltas}


def main() -> None:
    what, threads, rows = sys.argv[1], *(int(word) for word in sys.argv[2:])
    with tempfile.TemporaryDirectory(dir=os.environ.get("LARIX_BENCH_FOLDER")) as folder:
        work({"subject": "larix"}, PARTS[what](filled(threads, rows), rows, Path(folder)))


if __name__ == "__main__":
    main()
