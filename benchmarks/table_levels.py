"""Rows of a replica on two levels: lookups by the share of ids that are hot, bytes a row, requests that read from disk, moves,
and the share of hits that use brings about.

One thread, one core. Files are in the system's page cache, unless a case drops them from it.
"""

import argparse
import os
import sys
import tempfile
import time
from itertools import starmap
from pathlib import Path

import numpy as np
from measure import Worker, emit, work
from numpy.typing import NDArray
from table_replica import instant
from table_work import keys

from larix.embedding import Levels, Piece, Replica, Snapshot, TableSpec
from larix.embedding.levels import Cold

DIM, HOT, ZIPF = 16, 10, 1.05  # one row in so many is hot
IDS, STEPS, REQUEST, REQUESTS = 8192, 16, 500, 100
HITS = (1.0, 0.9, 0.5, 0.0)
MOVED = 10_000  # rows of a move that is timed
SETTLING = 30  # steps of lookups, and as many calls to adapt, before hits are counted
SPEC = TableSpec(name="t", dim=DIM)
Draw = NDArray[np.int64]


def measure(quick: bool, peers: bool) -> None:
    """Emit ``levels lookup hit=...``, ``levels bytes``, ``levels request``, ``levels adapt`` and ``levels zipf``.

    The limit of ``levels zipf`` is the share of lookups that asks for the most popular rows.
    """
    del peers
    rows, rounds = (1_000_000, 3) if quick else (10_000_000, 5)
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(sys.executable, str(Path(__file__).resolve()), ["--worker", str(rows), folder])
        told = [worker.round() for _ in range(rounds)]
        worker.end()
    for name in told[0]:
        subject, case, metric, unit = name.split(": ")
        emit("table", subject, case, metric, [each[name] for each in told], unit, rows=rows)


def snapshot(rows: int) -> Snapshot:
    def pieces(first: int, last: int) -> Piece:
        n, rng = last - first, np.random.default_rng(first)
        weights, zeros = rng.standard_normal((n, DIM), np.float32), np.zeros(n, np.float32)
        state = np.zeros((n, SPEC.state), np.float32)
        return Piece("t", keys(np.arange(first, last)), weights, state, zeros.astype(np.uint32), zeros)

    cuts = range(0, rows, rows // 20)
    parts = ((first, min(rows, first + rows // 20)) for first in cuts)
    return Snapshot({"t": SPEC}, 0, instant(1), starmap(pieces, parts))


def made(rows: int, folder: str, cold: Cold | None) -> Replica:
    """A replica whose first rows are hot: new ones are while there is room."""
    levels = None if cold is None else Levels(hot_bytes=rows // HOT * DIM * 4, folder=folder, cold=cold)
    replica = Replica([SPEC], levels=levels)
    replica.replace(snapshot(rows))
    return replica


def drop_from_page_cache(folder: str) -> None:
    """What is open there, though it has no name."""
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith(folder):
                os.fdatasync(int(descriptor))
                os.posix_fadvise(int(descriptor), 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError:
            continue


def serve(rows: int, folder: str) -> None:
    """A worker: a round is some lookups of every kind and share, requests, and moves of rows."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    flat = {"fp32": made(rows, folder, None)}
    flat["int8"] = Replica([SPEC], precision="int8")
    flat["int8"].replace(snapshot(rows))
    cold: dict[Cold, Replica] = {"int8": made(rows, folder, "int8"), "disk": made(rows, folder, "disk")}
    rng, hot = np.random.default_rng(7), rows // HOT
    out = np.empty((IDS, DIM), np.float32)

    def draw(share: float, n: int) -> Draw:
        inside = round(n * share)
        numbers = [rng.integers(0, hot, inside), rng.integers(hot, rows, n - inside)]
        return keys(rng.permutation(np.concatenate(numbers)))

    def speed(replica: Replica, share: float) -> float:
        asked = [draw(share, IDS) for _ in range(STEPS + 2)]
        for ids in asked[:2]:
            replica.lookup("t", ids, out=out)
        start = time.perf_counter()
        for ids in asked[2:]:
            replica.lookup("t", ids, out=out)
        return STEPS * IDS / (time.perf_counter() - start)

    def requests(replica: Replica, share: float) -> tuple[float, float]:
        asked, spent = [draw(share, REQUEST) for _ in range(REQUESTS)], []
        for ids in asked:
            start = time.perf_counter()
            replica.lookup("t", ids, out=out[:REQUEST])
            spent.append(time.perf_counter() - start)
        p50, p99 = np.quantile(spent, [0.5, 0.99]) * 1e3
        return float(p50), float(p99)

    def use(replica: Replica, drawn: Draw) -> None:
        for ids in np.array_split(drawn, len(drawn) // IDS + 1):
            replica.lookup("t", ids, out=out[: len(ids)])

    def adapt(replica: Replica) -> float:
        """Rows that are hot and rows that are cold change places."""
        at = rng.integers(0, len(replica) - MOVED)
        use(replica, np.tile(keys(np.arange(at, at + MOVED)), 60))
        start = time.perf_counter()
        moved = replica.adapt()
        return moved / (time.perf_counter() - start)

    def zipf(one_in: int) -> tuple[float, float]:
        """The share of hits once use has chosen, and that of the most popular rows."""
        count = min(rows, 1_000_000) // 5
        replica = Replica([SPEC], levels=Levels(hot_bytes=count // one_in * DIM * 4, folder=folder))
        replica.replace(snapshot(count))
        mass = np.cumsum(np.arange(1, count + 1, dtype=np.float64) ** -ZIPF)
        places = rng.permutation(count)

        def hits() -> float:
            use(replica, keys(places[np.searchsorted(mass, rng.random(count) * mass[-1])]))
            stats = replica.stats().levels
            assert stats is not None
            return stats.hot_hits

        for _ in range(SETTLING):
            before = hits()
            replica.adapt()
        return (hits() - before) / count, float(mass[count // one_in - 1] / mass[-1])

    def one_round() -> dict[str, float]:
        told: dict[str, float] = {}
        for precision, replica in flat.items():
            told[f"larix: levels lookup flat {precision}: rows_per_s: rows/s"] = speed(replica, 0.5)
            told[f"larix: levels bytes flat {precision}: bytes_per_row: bytes"] = replica.stats().bytes / rows
        for kind, replica in cold.items():
            use(replica, everything)  # so that the page cache has it
            for share in HITS:
                told[f"larix: levels lookup hit={share:g} cold={kind}: rows_per_s: rows/s"] = speed(
                    replica, share
                )
            stats = replica.stats()
            told[f"larix: levels bytes hot=0.1 cold={kind}: bytes_per_row: bytes"] = stats.bytes / rows
            for share in (1.0, 0.9):
                for dropped in (False, True) if kind == "disk" and share < 1 else (False,):
                    if dropped:
                        drop_from_page_cache(folder)
                    p50, p99 = requests(replica, share)
                    case = (
                        f"larix: levels request hit={share:g} cold={kind}" + " page cache dropped" * dropped
                    )
                    told[f"{case}: p50_ms: ms"], told[f"{case}: p99_ms: ms"] = p50, p99
        for kind in cold:
            told[f"larix: levels adapt cold={kind}: rows_per_s: rows/s"] = adapt(
                made(rows // 5, folder, kind)
            )
        for one_in in (100, 10):
            case = f"levels zipf hot={1 / one_in:g}: hit_rate: share"
            told[f"larix: {case}"], told[f"limit: {case}"] = zipf(one_in)
        return told

    everything = keys(np.arange(rows))
    work({"subject": "larix"}, one_round)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a million rows: under a minute")
    measure(parser.parse_args().quick, False)


if __name__ == "__main__":
    serve(int(sys.argv[2]), sys.argv[3]) if sys.argv[1:2] == ["--worker"] else main()
