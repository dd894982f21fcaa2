"""What serving does: lookups of a replica beside those of the store, and their tail while big deltas are applied.

No peer is asked: none serves from rows that change under its readers.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
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
SHARED: tuple[Format, ...] = ("fp32", "int8")
ONE_IN = (10_000, 1000, 100, 10)  # rows change
SHARE, DELTAS = 10, 3  # one row in so many is in a delta; deltas one after the other
TAILS = {"idle": "larix", "delta": "larix", "delta to another": "limit"}
Round = Callable[[], dict[str, float]]
Read = Callable[[Batch, Floats], object]


def measure(quick: bool, peers: bool) -> None:
    """Emit ``replica lookup``, ``memory`` and ``shared`` of each precision, ``replica idle`` and ``replica delta``.

    ``Tables`` is the store doing the same lookups; the limit of a delta is one that another replica takes, so that
    readers and writer share nothing but the machine. What is ``shared`` is mapped from another replica's memory; of it is told
    what a process has of its own after so many rows have changed.
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

    for precision in SHARED:
        told = run(f"shared {precision}", rows, 1)
        for case in told[0]:
            values = [each[case] for each in told]
            emit(
                "table",
                "larix",
                f"replica shared {case} dim={DIM} precision={precision}",
                "bytes_per_row",
                values,
                "bytes",
                rows=rows,
            )


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


def delta(rows: int, sequence: int, step: int = SHARE) -> Changes:
    """A delta of one row in ``step``."""
    none = np.zeros(0, np.int64)
    tables = {piece.table: Touched(*piece[1:], removed=none) for piece in pieces(rows, sequence % step, step)}
    named = {spec.name: spec for spec in specs(DIM)}
    return Changes(first=sequence, instant=instant(sequence), specs=named, tables=tables)


def mapped_of(precision: Format, rows: int) -> tuple[Replica, Replica]:
    """One that has loaded all rows and given them to others, and one of those."""
    frozen, mapped = (Replica(specs(DIM), precision=precision) for _ in range(2))
    frozen.replace(snapshot(rows))
    frozen.freeze(bytes(32))
    mapped.adopt(frozen.image, bytes(32), instant(1))
    return frozen, mapped


def shared(precision: Format, rows: int) -> Round:
    """What a replica takes that was loaded by itself; then what one has of its own, after deltas of ever more rows."""

    def one_round() -> dict[str, float]:
        alone = Replica(specs(DIM), precision=precision)
        alone.replace(snapshot(rows))
        told = {"alone": alone.stats().bytes / rows}
        frozen, mapped = mapped_of(precision, rows)
        told["by all"] = mapped.stats().shared / rows
        for step in ONE_IN:
            for _ in range(DELTAS):  # of the same rows
                news = delta(rows, 1, step)
                assert mapped.apply(
                    replace(news, first=mapped.sequence + 1, instant=instant(mapped.sequence + 1))
                )
            stats = mapped.stats()
            told[f"own after one in {step}"] = (stats.bytes - stats.shared) / rows
        assert frozen.stats().bytes == frozen.stats().shared
        return told

    return one_round


def lookups(rows: int) -> Round:
    """Whole steps from the store and from a replica of each precision, in turn: by one thread, then one a core."""
    tables, plan = Tables(specs(DIM), threads=1), layout(DIM)
    for piece in pieces(rows):
        tables.put(piece.table, piece.ids, piece.weights, piece.state)
    replicas = {precision: Replica(specs(DIM), precision=precision) for precision in FORMATS}
    for replica in replicas.values():
        replica.replace(snapshot(rows))
    mapped = {precision: mapped_of(precision, rows) for precision in SHARED}

    def reading(replica: Replica) -> Read:
        return lambda step, out: replica.gather(plan, step, [out])

    reads: dict[tuple[str, str], Read] = {
        ("Tables", f"dim={DIM}"): lambda step, out: tables.gather(plan, step, [out], insert=False)
    }
    for precision, replica in replicas.items():
        reads["larix", f"dim={DIM} precision={precision}"] = reading(replica)
    for precision, (_, replica) in mapped.items():
        reads["larix", f"dim={DIM} precision={precision} shared"] = reading(replica)
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
    if what == "lookup":
        made = lookups(rows)
    elif what.startswith("shared "):
        made = shared(formats[what.removeprefix("shared ")], rows)
    else:
        made = tails(formats[what], rows)
    work({"subject": "larix"}, made)


if __name__ == "__main__":
    main()
