"""The event log on disk: events of 1 KB appended (synced), followed by another process, and replayed.

As a script it is the process that is followed: FOLDER SECONDS.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from measure import emit

from larix.data.log import DiskLog

BENCH = "online"
ROWS = 1000  # events of an append
THREADS = 4  # that append at the same time
FLOATS = 246  # of an event, beside two ids, a time and a word: 1 KB
TAIL_EVENTS_PER_S = 20_000
TAIL_ROWS = 100


def events(rows: int) -> pa.RecordBatch:
    rng = np.random.default_rng(0)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rng.random(rows * FLOATS, np.float32)), FLOATS)
    return pa.record_batch(
        {
            "user_id": rng.integers(0, 2**60, rows),
            "item_id": rng.integers(0, 2**60, rows),
            "time_ms": rng.integers(0, 2**40, rows),
            "kind": pa.array(["click"] * rows),
            "vector": vectors.cast(pa.list_(pa.float32())),
        }
    )


def append(folder: Path, quick: bool) -> None:
    """Every append returns once its events are synced; threads share syncs. The limit writes the same bytes, and syncs 4 KB."""
    batch, rounds = events(ROWS), 3 if quick else 7
    appends = (200 if quick else 600) // THREADS
    rates, calls, limits, syncs = [], [], [], []
    for number in range(rounds):
        with DiskLog(folder / str(number)) as log:
            log.create("events")
            log.append("events", batch)
            taken: list[float] = []

            def work(log: DiskLog = log, taken: list[float] = taken) -> None:
                for _ in range(appends):
                    begun = time.perf_counter()
                    log.append("events", batch)
                    taken.append(time.perf_counter() - begun)

            rates.append(appends * THREADS * ROWS / timed(work, THREADS))
            calls.append(np.percentile(taken, [50, 99]))
        limits.append(appends * THREADS * ROWS / streamed(folder / "limit", batch.nbytes, appends * THREADS))
        syncs.append(np.percentile(written(folder / "limit", 4096, 100), [50, 99]))
    more = {"event_bytes": round(batch.nbytes / ROWS), "threads": THREADS, "events_per_append": ROWS}
    emit(BENCH, "larix", "append", "events_per_s", rates, "events/s", **more)
    emit(BENCH, "larix", "append", "p50_s", [call[0] for call in calls], "s", **more)
    emit(BENCH, "larix", "append", "p99_s", [call[1] for call in calls], "s", **more)
    emit(BENCH, "limit", "append", "events_per_s", limits, "events/s")
    emit(BENCH, "limit", "append", "p50_s", [sync[0] for sync in syncs], "s", synced_bytes=4096)
    emit(BENCH, "limit", "append", "p99_s", [sync[1] for sync in syncs], "s", synced_bytes=4096)


def tail(folder: Path, quick: bool) -> None:
    """From just before an append to its events in the hands of a consumer in another process, at a steady rate.

    The limit is how long a sleep of 0.2 ms takes in that process beside the same work: what the machine's scheduler adds.
    """
    seconds, rounds = (4, 3) if quick else (10, 7)
    middles, tails, limits = [], [], []
    for number in range(rounds):
        with DiskLog(folder / str(number)) as log:
            log.create("events")
            consumer = log.consumer("events")
            command = [sys.executable, __file__, str(folder / str(number)), str(seconds)]
            producer = subprocess.Popen(command)
            delays: list[float] = []
            naps: list[float] = []
            napping = threading.Thread(target=nap, args=(producer, naps))
            napping.start()
            while producer.poll() is None or consumer.lag:
                for got in consumer.poll(0.1):
                    delays.append(time.monotonic() - got.rows["sent"][0].as_py())
            assert producer.returncode == 0
            consumer.close()
            napping.join()
        expected = seconds * TAIL_EVENTS_PER_S // TAIL_ROWS
        assert len(delays) == expected, (len(delays), expected)
        middles.append(float(np.percentile(delays, 50)))
        tails.append(float(np.percentile(delays, 99)))
        limits.append(np.percentile(naps, [50, 99]))
    more = {"events_per_s": TAIL_EVENTS_PER_S, "events_per_append": TAIL_ROWS}
    emit(BENCH, "larix", "tail", "p50_s", middles, "s", **more)
    emit(BENCH, "larix", "tail", "p99_s", tails, "s", **more)
    emit(BENCH, "limit", "tail", "p50_s", [nap[0] for nap in limits], "s")
    emit(BENCH, "limit", "tail", "p99_s", [nap[1] for nap in limits], "s")


def replay(folder: Path, quick: bool) -> None:
    """Everything from the oldest event on, checked, by one consumer. The limit reads the same bytes."""
    batch, rounds = events(ROWS), 3 if quick else 7
    appends = 400 if quick else 2000
    with DiskLog(folder / "log") as log:
        log.create("events")
        for _ in range(appends):
            log.send("events", batch)
        log.flush()
        rates, limits = [], []
        for _ in range(rounds):
            with log.consumer("events") as consumer:
                begun = time.perf_counter()
                rows = sum(len(got.rows) for got in consumer.drain())
                rates.append(rows / (time.perf_counter() - begun))
            assert rows == appends * ROWS
            limits.append(rows / timed(lambda: read(folder / "log")))
    more = {"event_bytes": round(batch.nbytes / ROWS), "events_per_append": ROWS}
    emit(BENCH, "larix", "replay", "events_per_s", rates, "events/s", **more)
    emit(BENCH, "limit", "replay", "events_per_s", limits, "events/s")


def timed(work: Callable[[], None], threads: int = 1) -> float:
    """Seconds that so many threads need to do it each."""
    all_ = [threading.Thread(target=work) for _ in range(threads)]
    begun = time.perf_counter()
    for thread in all_:
        thread.start()
    for thread in all_:
        thread.join()
    return time.perf_counter() - begun


def written(path: Path, size: int, times: int) -> list[float]:
    """Seconds of each write of so many bytes at a file's end, with its sync."""
    content, taken = os.urandom(size), []
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for _ in range(times):
        begun = time.perf_counter()
        os.write(fd, content)
        os.fdatasync(fd)
        taken.append(time.perf_counter() - begun)
    os.close(fd)
    return taken


def streamed(path: Path, size: int, times: int) -> float:
    """Seconds until so many writes are synced, where one thread writes and another syncs what is there."""
    content, done = os.urandom(size), threading.Event()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def sync() -> None:
        while not done.is_set():
            os.fdatasync(fd)

    syncing = threading.Thread(target=sync)
    begun = time.perf_counter()
    syncing.start()
    for _ in range(times):
        os.write(fd, content)
    done.set()
    syncing.join()
    os.fdatasync(fd)
    seconds = time.perf_counter() - begun
    os.close(fd)
    return seconds


def read(folder: Path) -> None:
    """Read all segments into one buffer."""
    buffer = bytearray(1 << 20)
    for path in sorted(folder.rglob("*.segment")):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def nap(producer: subprocess.Popen[bytes], naps: list[float]) -> None:
    """Sleep for 0.2 ms now and then while another process works."""
    while producer.poll() is None:
        begun = time.perf_counter()
        time.sleep(0.0002)
        naps.append(time.perf_counter() - begun)
        time.sleep(0.005)


def produce(folder: str, seconds: int) -> None:
    """Append at a steady rate; events say when they were."""
    batch, every = events(TAIL_ROWS), TAIL_ROWS / TAIL_EVENTS_PER_S
    with DiskLog(folder) as log:
        begun = time.monotonic() + 0.5
        for number in range(seconds * TAIL_EVENTS_PER_S // TAIL_ROWS):
            time.sleep(max(0.0, begun + number * every - time.monotonic()))
            sent = pa.array(np.full(TAIL_ROWS, time.monotonic()))
            log.send("events", batch.append_column("sent", sent))
        log.flush()


if __name__ == "__main__":
    produce(sys.argv[1], int(sys.argv[2]))
