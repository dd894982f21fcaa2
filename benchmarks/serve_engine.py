"""What the serving engine adds to the calls it makes: the same stages called plainly (``ceiling``), and through it.

The stages are busy in native code without the GIL for about 2 ms a request, as features, look-ups and a network are; the page
is a real one. ``rank``: whoever asks waits for the answer, ``submit``: a future; ``ceiling pool``: what handing the plain calls
to threads costs by itself. CPU time is that of the whole process. ``--workers``: of the engine, a core each unless told.
``--quick``: a tenth of the requests.
"""

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import measure
import numpy as np
import pyarrow as pa

from larix.features import Binary
from larix.feed import ValueModel, WeightedSum
from larix.serve import Request, Stamp
from larix.serve.engine import Engine, EngineSettings, Pages, Target
from larix.serve.scorer import Looked, User

USER, LOOK_UP, SCORE = 0.0002, 0.0006, 0.0012  # seconds
ROWS, COUNT, ROUNDS = 100, 20, 5
STAMP = Stamp(model="busy", version="1")
TASKS = (Binary("click"), Binary("like"))


def calibrated() -> float:
    """Bytes that are hashed in a second."""
    room = bytes(1 << 20)
    times = []
    for _ in range(50):
        start = time.perf_counter()
        hashlib.sha256(room).digest()
        times.append(time.perf_counter() - start)
    return len(room) / statistics.median(times)


class Busy:
    """A Scorer that hashes for as long as work would take."""

    tasks, buckets, stamp = TASKS, (128, 256, 512), STAMP

    def __init__(self) -> None:
        speed = calibrated()
        self.rooms = [bytes(int(speed * seconds)) for seconds in (USER, LOOK_UP, SCORE)]
        self.logits = np.random.default_rng(0).normal(size=(ROWS, len(TASKS))).astype(np.float32)

    def user(self, context: pa.RecordBatch) -> User:
        hashlib.sha256(self.rooms[0]).digest()
        return User(arrays={}, stamp=STAMP)

    def look_up(self, user: User, candidates: pa.RecordBatch) -> Looked:
        hashlib.sha256(self.rooms[1]).digest()
        return Looked(user=user, rows=ROWS, arrays={}, stamp=STAMP)

    def score(self, looked: list[Looked]) -> list[np.ndarray]:
        for _ in looked:
            hashlib.sha256(self.rooms[2]).digest()
        return [self.logits] * len(looked)

    def seconds(self, rows: tuple[int, ...]) -> float:
        return SCORE * len(rows)


def timed(ask: Callable[[], object], clients: int, requests: int) -> tuple[float, float, float]:
    """Requests a second, microseconds of CPU and the median of milliseconds that a request took."""

    def client(_: int) -> list[float]:
        took = []
        for _ in range(requests // clients):
            start = time.perf_counter()
            ask()
            took.append(time.perf_counter() - start)
        return took

    with ThreadPoolExecutor(clients) as pool:
        start, used = time.perf_counter(), time.process_time()
        took = [each for those in pool.map(client, range(clients)) for each in those]
        seconds, cpu = time.perf_counter() - start, time.process_time() - used
    return len(took) / seconds, cpu / len(took) * 1e6, statistics.median(took) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--workers", type=int, default=EngineSettings().workers)
    told = parser.parse_args()
    requests = 160 if told.quick else 1600
    scorer = Busy()
    pages = Pages(tasks=TASKS, value=ValueModel(fusion=WeightedSum(weights={"click": 1.0, "like": 5.0})))
    target = Target(scorer=scorer, pages=pages)
    asked = Request(
        id="1",
        candidates=pa.RecordBatch.from_pydict({f"c{at}": np.arange(ROWS) for at in range(10)}),
        context=pa.RecordBatch.from_pydict({f"u{at}": [at] for at in range(10)}),
        count=COUNT,
    )

    def plainly() -> object:
        looked = scorer.look_up(scorer.user(asked.context), asked.candidates)
        return pages.answer(asked, looked, scorer.score([looked])[0], {})

    settings = EngineSettings(workers=told.workers, sparse=told.workers, dense=told.workers, wait_s=10.0)
    with Engine(lambda _: target, settings) as engine, ThreadPoolExecutor(settings.workers) as pool:
        subjects = {
            "ceiling": plainly,
            "ceiling pool": lambda: pool.submit(plainly).result(),
            "larix rank": lambda: engine.rank(asked),
            "larix submit": lambda: engine.submit(asked).result(),
        }
        for clients in (1, 8):
            found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in subjects}
            for _ in range(ROUNDS):
                for name, ask in subjects.items():
                    found[name].append(timed(ask, clients, requests // ROUNDS))
            for name, rounds in found.items():
                for at, (metric, unit) in enumerate(
                    (("requests_per_s", "1/s"), ("cpu_us_per_request", "us"), ("p50_ms", "ms"))
                ):
                    measure.emit(
                        "serve_engine",
                        name,
                        f"{clients} clients",
                        metric,
                        [each[at] for each in rounds],
                        unit,
                    )


if __name__ == "__main__":
    main()
