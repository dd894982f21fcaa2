"""Rows on disk: speed against the share of ids that are in memory, of data ten times the memory, beside RocksDB.

A step looks up different ids, so many of them out of a hot set that stays in memory, and updates them with row-wise
Adagrad; RocksDB gets and puts weights and state, without a log, its caches within the same budget, the optimizer in
numpy. ``--quick``: a million rows instead of ten. Files are in the system's page cache, unless a case drops them from it.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import Worker, emit, peer_python, work
from numpy.typing import NDArray

DIM, LR, EPS = 16, 0.05, 1e-8
IDS, STEPS, WARM = 16384, 8, 3  # of a step; steps of a round; untimed ones before
HITS = (1.0, 0.99, 0.9, 0.5, 0.0)
DROPPED = (0.9, 0.5)  # also with files dropped from the page cache
ROW_BYTES, TIMES = 104, 10  # of a row with its share of the index; how much more data than memory
Ids = NDArray[np.int64]
Step = Callable[[Ids], None]


def keys(numbers: Ids) -> Ids:
    """One 64-bit id a number, all over the range: an odd factor is a bijection."""
    return (numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)).view(np.int64)


class Draws:
    """Steps of ids of which about a share ``hit`` is hot: a quarter of what fits in memory."""

    def __init__(self, rows: int) -> None:
        self._rng, self._rows, self._hot = np.random.default_rng(4), rows, rows // TIMES // 4

    def step(self, hit: float) -> Ids:
        hot = round(IDS * hit)
        drawn = [self._rng.choice(self._hot, hot, replace=False)]
        drawn.append(self._hot + self._rng.choice(self._rows - self._hot, IDS - hot, replace=False))
        return keys(self._rng.permutation(np.concatenate(drawn)))

    def all_hot(self) -> list[Ids]:
        return np.array_split(keys(np.arange(self._hot)), -(-self._hot // IDS))


def drop_from_page_cache(folder: str) -> None:
    for path in Path(folder).rglob("*"):
        if not path.is_file():
            continue
        descriptor = os.open(path, os.O_RDONLY)
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def larix(rows: int, budget: int, folder: str) -> tuple[str, Step, Step, Callable[[], int]]:
    import larix
    from larix.embedding import RowAdagrad, Tables, TableSpec

    spec = TableSpec(name="t", dim=DIM, optimizer=RowAdagrad(lr=LR, eps=EPS))
    tables = Tables([spec], threads=1, memory_budget=budget, cold=folder)
    for ids in np.array_split(np.arange(rows), rows // IDS):
        tables.lookup("t", keys(ids), insert=True)
    grads = np.full((IDS, DIM), 1e-3, np.float32)
    out = np.empty((IDS, DIM), np.float32)

    def look_up(ids: Ids) -> None:
        tables.lookup("t", ids, insert=True, out=out[: len(ids)])

    def step(ids: Ids) -> None:
        look_up(ids)
        tables.update("t", ids, grads[: len(ids)])

    def recalled() -> int:
        cold = tables.stats().cold
        assert cold is not None
        assert cold.rows > 0.8 * rows
        return cold.recalled

    return f"larix {larix.__version__}", look_up, step, recalled


def rocksdb(rows: int, budget: int, folder: str) -> tuple[str, Step, Step, Callable[[], int]]:
    from importlib.metadata import version

    from rocksdict import (
        BlockBasedOptions,
        Cache,
        DBCompressionType,
        Options,
        Rdict,
        WriteBatch,
        WriteOptions,
    )

    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(budget // 2))
    blocks.set_bloom_filter(10, False)
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(blocks)
    options.set_write_buffer_size(budget // 8)
    options.set_max_write_buffer_number(4)
    options.set_compression_type(DBCompressionType.none())
    options.increase_parallelism(2)
    no_log = WriteOptions()
    no_log.disable_wal = True
    db = Rdict(folder, options)

    def packed(ids: Ids) -> list[bytes]:
        whole = ids.tobytes()
        return [whole[at : at + 8] for at in range(0, len(whole), 8)]

    def put(names: list[bytes], values: NDArray[np.float32]) -> None:
        size, whole, batch = values.shape[1] * 4, values.tobytes(), WriteBatch(raw_mode=True)
        for at, name in enumerate(names):
            batch[name] = whole[at * size : (at + 1) * size]
        db.write(batch, no_log)

    def get(names: list[bytes]) -> NDArray[np.float32]:
        found: list[Any] = db[names]
        return np.frombuffer(b"".join(found), np.float32).reshape(len(names), DIM + 1).copy()

    rng = np.random.default_rng(1)
    for ids in np.array_split(np.arange(rows), rows // IDS):
        values = rng.random((len(ids), DIM + 1), np.float32) * np.float32(0.05)
        put(packed(keys(ids)), values)
    db.flush()

    def look_up(ids: Ids) -> None:
        get(packed(ids))

    def step(ids: Ids) -> None:
        names = packed(ids)
        values = get(names)
        grads = np.full((len(ids), DIM), 1e-3, np.float32)
        values[:, DIM] += (grads * grads).sum(1) / np.float32(DIM)
        values[:, :DIM] -= (np.float32(LR) / (np.sqrt(values[:, DIM:]) + np.float32(EPS))) * grads
        put(names, values)

    return f"rocksdict {version('rocksdict')}", look_up, step, lambda: 0


SUBJECTS = {"larix": larix, "rocksdb": rocksdb}


def serve() -> None:
    """A worker, given SUBJECT ROWS FOLDER: a round times some steps of every case."""
    rows, folder = int(sys.argv[3]), sys.argv[4]
    # One core to work, one for what a subject does in the background.
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-2:]))
    name, look_up, step, recalled = SUBJECTS[sys.argv[2]](rows, rows * ROW_BYTES // TIMES, folder)
    draws = Draws(rows)

    def timed(do: Step, hit: float, drop: bool) -> tuple[float, float]:
        for ids in draws.all_hot():
            do(ids)
        for _ in range(WARM):
            do(draws.step(hit))
        pool = [draws.step(hit) for _ in range(STEPS)]
        if drop:
            drop_from_page_cache(folder)
        before, begin = recalled(), time.perf_counter()
        for ids in pool:
            do(ids)
        seconds = time.perf_counter() - begin
        return STEPS * IDS / seconds, 1 - (recalled() - before) / (STEPS * IDS)

    def one_round() -> dict[str, object]:
        done: dict[str, object] = {}
        for what, do in (("lookup", look_up), ("step", step)):
            for hit in HITS:
                done[f"ssd {what} hit={hit:g}"] = timed(do, hit, False)
            for hit in DROPPED:
                done[f"ssd {what} hit={hit:g} page cache dropped"] = timed(do, hit, True)
        return done

    work({"subject": name}, one_round)


def measure(quick: bool, peers: bool) -> None:
    """Print speeds of all cases, ours and with ``peers`` RocksDB's, measured in turn."""
    rows, rounds = (1_000_000, 3) if quick else (10_000_000, 5)
    with tempfile.TemporaryDirectory() as folder:
        workers = {"larix": _worker(sys.executable, "larix", rows, folder)}
        if peers:
            python = peer_python("rocksdict", ["numpy", "rocksdict==0.3.29"])
            workers["rocksdb"] = _worker(python, "rocksdb", rows, folder)
        results: dict[tuple[str, str], list[list[float]]] = {}
        for _ in range(rounds):
            for subject, worker in workers.items():
                for case, values in worker.round().items():
                    results.setdefault((subject, case), []).append(values)
        for (subject, case), values in results.items():
            speeds, hits = zip(*values, strict=True)
            more = {"hit_rate": round(float(np.median(hits)), 4)} if subject == "larix" else {}
            name = workers[subject].about["subject"]
            emit("table", name, case, "rows_per_s", speeds, "rows/s", rows=rows, **more)
        for worker in workers.values():
            peak = worker.end()["peak_rss_bytes"]
            emit("table", worker.about["subject"], "ssd", "peak_rss_bytes", [peak], "bytes", rows=rows)


def _worker(python: str, subject: str, rows: int, folder: str) -> Worker:
    place = Path(folder) / subject
    place.mkdir()
    arguments = ["--worker", subject, str(rows), str(place)]
    return Worker(python, __file__, arguments, env={"OMP_NUM_THREADS": "1"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a million rows: under a minute")
    parser.add_argument("--peers", action="store_true", help="also RocksDB, in an environment of its own")
    args = parser.parse_args()
    measure(args.quick, args.peers)


if __name__ == "__main__":
    serve() if sys.argv[1:2] == ["--worker"] else main()
