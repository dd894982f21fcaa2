"""What serving does: lookups of a replica beside those of the store, and their tail while a big delta is applied.

No peer is asked: none serves from rows that change under its readers.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
from measure import Worker, emit, work
from numpy.typing import NDArray
from table_larix import NAMES, batch, layout, specs
from table_work import BATCH, DISTRIBUTIONS, IDS, SLOTS, keys, numbered, positions

from larix.batch import Batch
from larix.embedding import Changes, Instant, Piece, Replica, Snapshot, Tables
from larix.embedding.changes import Touched
from larix.embedding.quantize import Format, row_bytes

FORMATS = get_args(Format)
DIM = 16
STEPS = 8  # of BATCH x SLOTS ids, timed in one go
CALL = 100  # samples of a request whose time is taken
SHARE = 10  # one row in so many is in a delta
TAILS = ("idle", "delta", "delta to another")


def measure(quick: bool, peers: bool) -> None:
    """Emit ``replica lookup``, ``replica memory`` and ``replica idle | delta``, each precision."""
    del peers
    rows, rounds = (1_000_000, 3) if quick else (10_000_000, 10)
    rows = rows // SLOTS // BATCH * BATCH * SLOTS
    worker = start("lookup", rows)
    told = [worker.round() for _ in range(rounds)]
    worker.end()
    for case in told[0]:
        subject, _, its = case.partition(": ")
        metric, unit = (
            ("overhead_bytes_per_row", "bytes") if its.startswith("memory") else ("rows_per_s", "rows/s")
        )
        emit("table", subject, f"replica {its}", metric, [each[case] for each in told], unit, rows=rows)
    for precision in ("fp32", "int8"):
        worker = start(precision, rows)
        told = [worker.round() for _ in range(rounds)]
        worker.end()
        for tail in TAILS:
            subject = "limit" if tail == "delta to another" else "larix"
            case = f"replica {tail} dim={DIM} precision={precision}"
            for metric in ("p50_ms", "p99_ms"):
                emit(
                    "table",
                    subject,
                    case,
                    metric,
                    [each[f"{tail} {metric}"] for each in told],
                    "ms",
                    rows=rows,
                )
        case = f"replica delta dim={DIM} precision={precision}"
        emit("table", "larix", case, "rows_per_s", [each["applied"] for each in told], "rows/s", rows=rows)


def start(what: str, rows: int) -> Worker:
    return Worker(sys.executable, str(Path(__file__).resolve()), [what, str(rows)])


def weights(rows: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).standard_normal((rows, DIM), np.float32)


def snapshot(rows: int) -> Snapshot:
    """``rows`` in all, as many of each table, in pieces as they are read from files."""

    def pieces():  # type: ignore[no-untyped-def]
        for at, spec in enumerate(specs(DIM)):
            ids = keys(np.arange(rows // SLOTS) + at * (rows // SLOTS))
            n = len(ids)
            values, state = weights(n), np.zeros((n, spec.state), np.float32)
            yield Piece(spec.name, ids, values, state, np.zeros(n, np.uint32), np.zeros(n, np.float32))

    return Snapshot({spec.name: spec for spec in specs(DIM)}, 0, instant(1), pieces())


def instant(sequence: int) -> Instant:
    return Instant(history="benchmark", sequence=sequence, steps=0, clock=0)


def delta(rows: int, sequence: int) -> Changes:
    """New weights for one row in ``SHARE``, of all tables."""
    tables = {}
    for at, spec in enumerate(specs(DIM)):
        ids = keys(np.arange(sequence % SHARE, rows // SLOTS, SHARE) + at * (rows // SLOTS))
        n = len(ids)
        values, state = weights(n), np.zeros((n, spec.state), np.float32)
        none = np.zeros(0, np.int64)
        tables[spec.name] = Touched(ids, values, state, np.zeros(n, np.uint32), np.zeros(n, np.float32), none)
    named = {spec.name: spec for spec in specs(DIM)}
    return Changes(first=sequence, instant=instant(sequence), specs=named, tables=tables)


def lookups(rows: int) -> tuple[dict[str, object], Callable[[], dict[str, float]]]:
    """Whole steps from the store and from a replica of each precision, in turn; then from all cores at once."""
    tables = Tables(specs(DIM), threads=1)
    for name, ids, values, state, *_ in snapshot(rows):
        tables.put(name, ids, values, state)
    replicas = {}
    for precision in FORMATS:
        replicas[precision] = Replica(specs(DIM), precision=precision)
        replicas[precision].replace(snapshot(rows))
    plan = layout(DIM)
    pools = {
        each: [batch(ids) for ids in keys(numbered(positions(each, rows), rows))] for each in DISTRIBUTIONS
    }
    cores = len(os.sched_getaffinity(0))
    outs = [np.empty((BATCH, SLOTS * DIM), np.float32) for _ in range(cores)]
    done = 0

    def reads() -> dict[str, Callable[[Batch, NDArray[np.float32]], object]]:
        ours = {
            f"larix: precision={precision}": (
                lambda step, out, replica=replica: replica.gather(plan, step, [out])
            )
            for precision, replica in replicas.items()
        }
        return {"Tables: ": lambda step, out: tables.gather(plan, step, [out], insert=False)} | ours

    def one_round() -> dict[str, float]:
        nonlocal done
        told = {}
        for distribution, pool in pools.items():
            for readers in dict.fromkeys((1, cores)):
                for case, read in reads().items():
                    subject, _, tail = case.partition(": ")

                    def some(me: int, read=read, pool=pool) -> None:  # type: ignore[no-untyped-def]
                        for step in range(STEPS):
                            read(pool[(done * STEPS + step + 7 * me) % len(pool)], outs[me])

                    begin = time.perf_counter()
                    threads = [threading.Thread(target=some, args=(me,)) for me in range(readers)]
                    for thread in threads:
                        thread.start()
                    for thread in threads:
                        thread.join()
                    speed = readers * STEPS * IDS / (time.perf_counter() - begin)
                    told[
                        f"{subject}: lookup {distribution} dim={DIM} {tail} readers={readers}".replace(
                            "  ", " "
                        )
                    ] = speed
        done += 1
        for precision, replica in replicas.items():
            each = replica.stats().bytes / len(replica) - row_bytes(precision, DIM)
            told[f"larix: memory dim={DIM} precision={precision}"] = each
        return told

    return {"subject": "larix"}, one_round


def tails(precision: Format, rows: int) -> tuple[dict[str, object], Callable[[], dict[str, float]]]:
    """Requests from one thread: with nothing else, while deltas are applied, and while another replica takes them."""
    shown, another = (Replica(specs(DIM), precision=precision) for _ in range(2))
    shown.replace(snapshot(rows))
    another.replace(snapshot(rows))
    plan, out = layout(DIM), np.empty((CALL, SLOTS * DIM), np.float32)
    drawn = keys(numbered(positions("zipf", rows), rows))
    requests = [batch(np.ascontiguousarray(ids[:, :CALL])) for ids in drawn]
    assert set(requests[0].ids) == set(NAMES)
    sequences = {id(shown): 1, id(another): 1}

    def spent(until: Callable[[], bool]) -> dict[str, float]:
        times = []
        while not until():
            begin = time.perf_counter()
            shown.gather(plan, requests[len(times) % len(requests)], [out])
            times.append(time.perf_counter() - begin)
        p50, p99 = np.quantile(times, [0.5, 0.99]) * 1e3
        return {"p50_ms": float(p50), "p99_ms": float(p99)}

    def applying(replica: Replica) -> tuple[dict[str, float], float]:
        made = []
        for _ in range(3):
            sequences[id(replica)] += 1
            made.append(delta(rows, sequences[id(replica)]))
        changed = sum(len(touched.ids) for changes in made for touched in changes.tables.values())
        took = 0.0

        def apply() -> None:
            nonlocal took
            begin = time.perf_counter()
            for changes in made:
                assert replica.apply(changes)
            took = time.perf_counter() - begin

        writer = threading.Thread(target=apply)
        writer.start()
        told = spent(lambda: not writer.is_alive())
        return told, changed / took

    def one_round() -> dict[str, float]:
        end = time.perf_counter() + 1
        told = {f"idle {metric}": each for metric, each in spent(lambda: time.perf_counter() > end).items()}
        for tail, replica in (("delta", shown), ("delta to another", another)):
            found, speed = applying(replica)
            told |= {f"{tail} {metric}": each for metric, each in found.items()}
            if replica is shown:
                told["applied"] = speed
        return told

    return {"subject": "larix"}, one_round


def main() -> None:
    what, rows = sys.argv[1], int(sys.argv[2])
    about, one_round = lookups(rows) if what == "lookup" else tails(what, rows)  # type: ignore[arg-type]
    work(about, one_round)


if __name__ == "__main__":
    main()
