"""A table growing from empty, and the memory its rows take: every run is a process of its own. Knows ours alone."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import Worker, emit, work
from numpy.typing import NDArray
from table_larix import NAMES, batch, layout, specs
from table_work import BATCH, IDS, SLOTS, keys

from larix.embedding import Tables

MARK = 1_000_000  # memory is looked at each time that many rows have come
CALLS = {
    "step": IDS,
    "table": BATCH,
}  # new ids a call: a whole step by gather, or those of one table by lookup


def measure(quick: bool, peers: bool) -> None:
    """Emit ``grow`` and ``memory``; no peer is asked, as those with static arrays do not grow."""
    del peers
    rows, runs = (2_000_000, 2) if quick else (12_000_000, 5)
    for dim in (16,) if quick else (16, 32, 64, 128):
        for threads in dict.fromkeys((1, len(os.sched_getaffinity(0)))):
            for calls, ids in CALLS.items():
                told = [one_run(calls, dim, threads, rows) for _ in range(runs)]
                if calls == "step" and threads == 1:
                    say_memory(told, dim, rows // ids * ids)
                case = f"grow{' one' if calls == 'table' else ''} dim={dim} threads={threads}"
                for metric, unit in (
                    ("rows_per_s", "rows/s"),
                    ("p50_ms", "ms"),
                    ("max_ms", "ms"),
                    ("max_over_median", "ratio"),
                ):
                    values = [each[metric] for each in told]
                    emit("table", "larix", case, metric, values, unit, rows=rows // ids * ids, ids=ids)


def say_memory(told: list[dict[str, float]], dim: int, rows: int) -> None:
    """Bytes a row beyond weights and optimizer state: as the system counts them, its worst on the way, as ours counts."""
    for metric in (
        "overhead_bytes_per_row",
        "worst_overhead_bytes_per_row",
        "counted_overhead_bytes_per_row",
    ):
        values = [each[metric] for each in told]
        emit("table", "larix", f"memory dim={dim}", metric, values, "bytes", rows=rows)


def one_run(calls: str, dim: int, threads: int, rows: int) -> dict[str, float]:
    worker = Worker(sys.executable, str(Path(__file__).resolve()), [calls, str(dim), str(threads), str(rows)])
    told = worker.round()
    worker.end()
    return told


def rss() -> int:
    """Bytes of this process that are in RAM."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def new_ids(rows: int, size: int) -> Iterator[NDArray[np.int64]]:
    """Ids never given before, ``size`` at a time, as long as that makes no more than ``rows``."""
    for first in range(0, rows - size + 1, size):
        yield keys(np.arange(first, first + size))


def grow(calls: str, dim: int, threads: int, rows: int) -> dict[str, float]:
    """Fill an empty store call by call."""
    plan, each = layout(dim), 4 * dim + 4
    out = np.zeros((BATCH, SLOTS * dim) if calls == "step" else (BATCH, dim), np.float32)
    for _ in new_ids(2 * CALLS[calls], CALLS[calls]):
        pass  # the memory that making ids takes is there before it is counted
    before = rss()
    tables = Tables(specs(dim), threads=threads)
    spent: list[float] = []
    overheads: list[float] = []
    filled = 0
    for ids in new_ids(rows, CALLS[calls]):
        given = batch(ids.reshape(SLOTS, BATCH)) if calls == "step" else None
        start = time.perf_counter()
        if given:
            tables.gather(plan, given, [out])
        else:
            tables.lookup(NAMES[0], ids, insert=True, out=out)
        spent.append(time.perf_counter() - start)
        filled += len(ids)
        if filled // MARK > len(overheads):
            overheads.append((rss() - before) / filled - each)
    median = float(np.median(spent))
    stats = tables.stats()
    assert stats.rows == stats.inserted == filled
    return {
        "rows_per_s": filled / sum(spent),
        "p50_ms": median * 1e3,
        "max_ms": max(spent) * 1e3,
        "max_over_median": max(spent) / median,
        "overhead_bytes_per_row": (rss() - before) / filled - each,
        "worst_overhead_bytes_per_row": max(overheads),
        "counted_overhead_bytes_per_row": stats.bytes / filled - each,
    }


def main() -> None:
    calls, dim, threads, rows = sys.argv[1], *(int(word) for word in sys.argv[2:])
    if threads == 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    work({"subject": "larix"}, lambda: grow(calls, dim, threads, rows))


if __name__ == "__main__":
    main()
