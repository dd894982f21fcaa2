"""A table growing from empty, and the memory its rows take: every run is a process of its own.

Beside it the machine's own limit: rows that nobody looks for and whose entries lie where they will stay. No peer is asked:
static arrays do not grow.
"""

import mmap
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import Worker, emit, work
from numpy.typing import NDArray
from table_larix import NAMES, batch, layout, specs
from table_limits import BUCKET, BUCKET_ROWS, HEADER, library, stride_of
from table_work import BATCH, IDS, SLOTS, keys

from larix.embedding import Tables

CALLS = {
    "grow": IDS,
    "grow one": BATCH,
}  # new ids a call: a whole step by gather, or those of one table by lookup
GROWN = {  # by the clock, and by the time that the process had a core
    "rows_per_s": "rows/s",
    "rows_per_cpu_s": "rows/s",
    "p50_ms": "ms",
    "max_ms": "ms",
    "max_over_median": "ratio",
    "max_over_median_cpu": "ratio",
}
TAKEN = {  # bytes a row beyond weights and state: as the system sees it at the end and at worst, and as ours counts
    "overhead_bytes_per_row": "bytes",
    "worst_overhead_bytes_per_row": "bytes",
    "counted_overhead_bytes_per_row": "bytes",
}
MARK = 1_000_000  # memory is looked at each time that many rows have come
SPARE = 64  # bytes a row that overhead may need


def measure(quick: bool, peers: bool) -> None:
    """Emit ``grow`` and ``memory``: one core and all, each dim."""
    del peers
    most, runs = (2_000_000, 2) if quick else (12_000_000, 5)
    for dim in (16,) if quick else (16, 32, 64, 128):
        for threads in dict.fromkeys((1, len(os.sched_getaffinity(0)))):
            for calls, ids in CALLS.items():
                rows = most // ids * ids
                told = [one_run(calls, dim, threads, rows) for _ in range(runs)]
                case = f"{calls} dim={dim} threads={threads}"
                for metric, unit in GROWN.items():
                    say("larix", case, metric, told, unit, rows, ids=ids)
                if calls == "grow" and threads == 1:
                    for metric, unit in TAKEN.items():
                        say("larix", f"memory dim={dim}", metric, told, unit, rows)
        for calls, ids in CALLS.items():
            rows = most // ids * ids
            told = [one_run(f"limit {calls}", dim, 1, rows) for _ in range(runs)]
            for metric, unit in GROWN.items():
                say("limit", f"{calls} dim={dim} threads=1", metric, told, unit, rows, ids=ids)
        told = [one_run("touch", dim, 1, most) for _ in range(runs)]
        say("limit", f"clear dim={dim} threads=1", "rows_per_s", told, "rows/s", most)


def say(
    subject: str,
    case: str,
    metric: str,
    told: list[dict[str, float]],
    unit: str,
    rows: int,
    **more: object,
) -> None:
    emit("table", subject, case, metric, [each[metric] for each in told], unit, rows=rows, **more)


def one_run(calls: str, dim: int, threads: int, rows: int) -> dict[str, float]:
    worker = Worker(sys.executable, str(Path(__file__).resolve()), [calls, str(dim), str(threads), str(rows)])
    told = worker.round()
    worker.end()
    return told


def rss() -> int:
    """Bytes of this process that are in RAM."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def visit_memory(size: int) -> None:
    """Touch ``size`` bytes and give them back: a virtual machine gets memory from its host at first touch, slowly.

    On one machine that was 0.5 GB/s, and 7 GB/s after; what lies free for some seconds goes back to the host.
    """
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1


def new_ids(rows: int, size: int) -> Iterator[NDArray[np.int64]]:
    """Ids never given before, ``size`` at a time, ``rows`` in all."""
    for first in range(0, rows, size):
        yield keys(np.arange(first, first + size))


def grow(calls: str, dim: int, threads: int, rows: int) -> dict[str, float]:
    """Fill an empty store call by call."""
    ids_a_call, each = CALLS[calls], 4 * dim + 4
    visit_memory(rows * (each + SPARE))
    plan = layout(dim)
    out = np.zeros((BATCH, SLOTS * dim if calls == "grow" else dim), np.float32)
    for _ in new_ids(2 * ids_a_call, ids_a_call):
        pass  # the memory that making ids takes is there before it is counted
    before = rss()
    tables = Tables(specs(dim), threads=threads)
    spent, worked = [], []
    overheads: list[float] = []
    filled = 0
    for ids in new_ids(rows, ids_a_call):
        step = batch(ids.reshape(SLOTS, BATCH)) if calls == "grow" else None
        start, work_start = time.perf_counter(), time.process_time()
        if step:
            tables.gather(plan, step, [out])
        else:
            tables.lookup(NAMES[0], ids, insert=True, out=out)
        worked.append(time.process_time() - work_start)
        spent.append(time.perf_counter() - start)
        filled += len(ids)
        if filled // MARK > len(overheads):
            overheads.append((rss() - before) / filled - each)
    overheads.append((rss() - before) / filled - each)
    stats = tables.stats()
    assert stats.rows == stats.inserted == filled == rows
    return told_of(rows, spent, worked) | {
        "overhead_bytes_per_row": overheads[-1],
        "worst_overhead_bytes_per_row": max(overheads),
        "counted_overhead_bytes_per_row": stats.bytes / filled - each,
    }


def told_of(rows: int, spent: list[float], worked: list[float]) -> dict[str, float]:
    """``GROWN`` of calls that took so many seconds, and so many of a core."""
    median = float(np.median(spent))
    return {
        "rows_per_s": rows / sum(spent),
        "rows_per_cpu_s": rows / sum(worked),
        "p50_ms": median * 1e3,
        "max_ms": max(spent) * 1e3,
        "max_over_median": max(spent) / median,
        "max_over_median_cpu": max(worked) / float(np.median(worked)),
    }


def limit(calls: str, dim: int, rows: int) -> dict[str, float]:
    """The limit of growing: an entry at a random line of an index that is there, a row in fresh memory, its vector."""
    code, stride, buckets = library(), stride_of(dim), int(rows / BUCKET_ROWS)
    slots = SLOTS if calls == "grow" else 1
    visit_memory(rows * stride + buckets * BUCKET)
    data, index = code.reserve(rows * stride), code.make_rows(buckets * BUCKET)
    if not data or not index:
        raise MemoryError(f"no memory for {rows} rows")
    out = np.zeros((BATCH, slots * dim), np.float32)
    spent, worked = [], []
    for first in range(0, rows, CALLS[calls]):
        start, work_start = time.perf_counter(), time.process_time()
        code.grow(data, stride, HEADER, dim, index, buckets, slots, BATCH, first, out.ctypes.data)
        worked.append(time.process_time() - work_start)
        spent.append(time.perf_counter() - start)
    return told_of(rows, spent, worked)


def touch(dim: int, rows: int) -> dict[str, float]:
    """What the system alone takes to give memory to rows of our stride."""
    code, size = library(), rows * stride_of(dim)
    visit_memory(size)
    start = time.perf_counter()
    if not code.make_rows(size):
        raise MemoryError(f"no memory for {size} bytes of rows")
    return {"rows_per_s": rows / (time.perf_counter() - start)}


def main() -> None:
    calls, dim, threads, rows = sys.argv[1], *(int(word) for word in sys.argv[2:])
    if threads == 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    kind, _, its_calls = calls.partition(" ")
    if kind == "limit":
        work({"subject": "limit"}, lambda: limit(its_calls, dim, rows))
    elif kind == "touch":
        work({"subject": "limit"}, lambda: touch(dim, rows))
    else:
        work({"subject": "larix"}, lambda: grow(calls, dim, threads, rows))


if __name__ == "__main__":
    main()
