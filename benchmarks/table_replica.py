"""What serving does: lookups of a replica beside those of the store, and their tail while big deltas are applied.

No peer is asked: none serves from rows that change under its readers.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
from measure import Worker, emit, work
from table_larix import batch, layout, specs
from table_work import BATCH, DISTRIBUTIONS, IDS, SLOTS, keys, numbered, positions

from larix.batch import Batch, Floats
from larix.embedding import Changes, Instant, Piece, Replica, Snapshot, Tables
from larix.embedding.changes import Touched
from larix.embedding.quantize import Format, row_bytes

FORMATS: tuple[Format, ...] = get_args(Format)
DIM = 16
STEPS = 8  # of BATCH x SLOTS ids, timed in one go
REQUEST = 100  # samples of a call whose time is taken
SHARE, DELTAS = 10, 3  # one row in so many is in a delta; deltas one after the other
TAILS = {"idle": "larix", "delta": "larix", "delta to another": "limit"}
Round = Callable[[], dict[str, float]]
Read = Callable[[Batch, Floats], object]


def measure(quick: bool, peers: bool) -> None:
    """Emit ``replica lookup`` and ``replica memory`` of each precision, ``replica idle`` and ``replica delta``.

    ``Tables`` is the store doing the same lookups; the limit of a delta is one that another replica takes, so that
    readers and writer share nothing but the machine.
    """
    del peers
    most, rounds = (1_000_000, 3) if quick else (10_000_000, 10)
    rows = most // SLOTS * SLOTS
    told = run("lookup", rows, rounds)
    for case in told[0]:
        subject, _, tail = case.partition(": ")
        memory = tail.startswith("memory")
        metric, unit = ("overhead_bytes_per_row", "bytes") if memory else ("rows_per_s", "rows/s")
        emit("table", subject, f"replica {tail}", metric, [each[case] for each in told], unit, rows=rows)
    for precision in ("fp32", "int8"):
        told = run(precision, rows, rounds)
        tail = f"dim={DIM} precision={precision}"
        for what, subject in TAILS.items():
            for metric in ("p50_ms", "p99_ms"):
                values = [each[f"{what} {metric}"] for each in told]
                emit("table", subject, f"replica {what} {tail}", metric, values, "ms", rows=rows)
        values = [each["applied"] for each in told]
        emit("table", "larix", f"replica delta {tail}", "rows_per_s", values, "rows/s", rows=rows)


def run(what: str, rows: int, rounds: int) -> list[dict[str, float]]:
    worker = Worker(sys.executable, str(Path(__file__).resolve()), [what, str(rows)])
    told = [worker.round() for _ in range(rounds)]
    worker.end()
    return told


def instant(sequence: int) -> Instant:
    return Instant(history="benchmark", sequence=sequence, steps=0, clock=0)


def pieces(rows: int, first: int = 0, step: int = 1) -> Iterator[Piece]:
    """Rows of all tables, every ``step``-th of each from ``first`` on, with new weights."""
    rng = np.random.default_rng(first)
    for at, spec in enumerate(specs(DIM)):
        ids = keys(np.arange(first, rows // SLOTS, step) + at * (rows // SLOTS))
        n = len(ids)
        weights, state = rng.standard_normal((n, DIM), np.float32), np.zeros((n, spec.state), np.float32)
        yield Piece(spec.name, ids, weights, state, np.zeros(n, np.uint32), np.zeros(n, np.float32))


def snapshot(rows: int) -> Snapshot:
    return Snapshot({spec.name: spec for spec in specs(DIM)}, 0, instant(1), pieces(rows))


def delta(rows: int, sequence: int) -> Changes:
    none = np.zeros(0, np.int64)
    tables = {
        piece.table: Touched(*piece[1:], removed=none) for piece in pieces(rows, sequence % SHARE, SHARE)
    }
    named = {spec.name: spec for spec in specs(DIM)}
    return Changes(first=sequence, instant=instant(sequence), specs=named, tables=tables)


def lookups(rows: int) -> Round:
    """Whole steps from the store and from a replica of each precision, in turn: by one thread, then one a core."""
    tables, plan = Tables(specs(DIM), threads=1), layout(DIM)
    for piece in pieces(rows):
        tables.put(piece.table, piece.ids, piece.weights, piece.state)
    replicas = {precision: Replica(specs(DIM), precision=precision) for precision in FORMATS}
    for replica in replicas.values():
        replica.replace(snapshot(rows))

    def reading(replica: Replica) -> Read:
        return lambda step, out: replica.gather(plan, step, [out])

    reads: dict[tuple[str, str], Read] = {
        ("Tables", f"dim={DIM}"): lambda step, out: tables.gather(plan, step, [out], insert=False)
    }
    for precision, replica in replicas.items():
        reads["larix", f"dim={DIM} precision={precision}"] = reading(replica)
    pools = {
        each: [batch(ids) for ids in keys(numbered(positions(each, rows), rows))] for each in DISTRIBUTIONS
    }
    cores = len(os.sched_getaffinity(0))
    outs = [np.empty((BATCH, SLOTS * DIM), np.float32) for _ in range(cores)]
    done = 0

    def steps(read: Read, pool: list[Batch], me: int) -> None:
        for step in range(STEPS):
            read(pool[((done + 3 * me) * STEPS + step) % len(pool)], outs[me])

    def one_round() -> dict[str, float]:
        nonlocal done
        told = {}
        for distribution, pool in pools.items():
            for readers in dict.fromkeys((1, cores)):
                for (subject, tail), read in reads.items():
                    threads = [threading.Thread(target=steps, args=(read, pool, me)) for me in range(readers)]
                    start = time.perf_counter()
                    for thread in threads:
                        thread.start()
                    for thread in threads:
                        thread.join()
                    speed = readers * STEPS * IDS / (time.perf_counter() - start)
                    told[f"{subject}: lookup {distribution} {tail} readers={readers}"] = speed
        for precision, replica in replicas.items():
            overhead = replica.stats().bytes / len(replica) - row_bytes(precision, DIM)
            told[f"larix: memory dim={DIM} precision={precision}"] = overhead
        done += 1
        return told

    return one_round


def tails(precision: Format, rows: int) -> Round:
    """Calls of one thread: alone, while deltas are applied to its replica, and while they are to another."""
    shown, another = (Replica(specs(DIM), precision=precision) for _ in range(2))
    shown.replace(snapshot(rows))
    another.replace(snapshot(rows))
    plan, out = layout(DIM), np.empty((REQUEST, SLOTS * DIM), np.float32)
    drawn = keys(numbered(positions("zipf", rows), rows))
    requests = [batch(np.ascontiguousarray(ids[:, :REQUEST])) for ids in drawn]

    def calls(what: str, enough: Callable[[], bool]) -> dict[str, float]:
        spent: list[float] = []
        while not enough():
            start = time.perf_counter()
            shown.gather(plan, requests[len(spent) % len(requests)], [out])
            spent.append(time.perf_counter() - start)
        p50, p99 = np.quantile(spent, [0.5, 0.99]) * 1e3
        return {f"{what} p50_ms": float(p50), f"{what} p99_ms": float(p99)}

    def over(writer: threading.Thread) -> bool:
        return not writer.is_alive()

    def apply(replica: Replica, deltas: list[Changes], took: list[float]) -> None:
        start = time.perf_counter()
        for changes in deltas:
            assert replica.apply(changes)
        took.append(time.perf_counter() - start)

    def one_round() -> dict[str, float]:
        end = time.perf_counter() + 1
        told = calls("idle", lambda: time.perf_counter() > end)
        for what, replica in (("delta", shown), ("delta to another", another)):
            deltas = [delta(rows, replica.sequence + 1 + number) for number in range(DELTAS)]
            took: list[float] = []
            writer = threading.Thread(target=apply, args=(replica, deltas, took))
            writer.start()
            told |= calls(what, partial(over, writer))
            if replica is shown:
                changed = sum(len(touched.ids) for each in deltas for touched in each.tables.values())
                told["applied"] = changed / took[0]
        return told

    return one_round


def main() -> None:
    what, rows = sys.argv[1], int(sys.argv[2])
    formats = {str(precision): precision for precision in FORMATS}
    work({"subject": "larix"}, lookups(rows) if what == "lookup" else tails(formats[what], rows))


if __name__ == "__main__":
    main()
