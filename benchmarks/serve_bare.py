"""Our engine without a server around it: BUNDLE WORKERS CORES, requests of JSON bodies in a file, read before the clock starts.

`capacity`: as many requests under way as keep it busy. `alone`: one after the other. `quiet`: one now and then. Told by words on
standard input.
"""

import json
import os
import struct
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import work
from rich.console import Console
from serve_added import QUIET_PER_S, QUIET_S

from larix.recipes.served import Back, place_of, serving
from larix.serve import Request
from larix.serve.service import Columns, Service

SECONDS = 3.0


def read(path: Path, columns: Columns) -> list[tuple[Any, Any, int]]:
    """Contexts, candidates and users of the requests that ``serve_load`` sends, too."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        whole = data[at + 4 : at + 4 + size]
        body = json.loads(whole[whole.index(b"\r\n\r\n") + 4 :])
        context, _ = columns.context_of(body["user"], time.time_ns() // 10**6)
        found.append((context, columns.candidates_of(body["candidates"])[0], columns.user_of(context)))
        at += 4 + size
    return found


class Bare:
    def __init__(self, service: Service, parts: Sequence[tuple[Any, Any, int]], most: int) -> None:
        self._service, self._parts, self._most = service, parts, most
        self._next = 0

    def _request(self) -> Request:
        context, candidates, user = self._parts[self._next % len(self._parts)]
        self._next += 1
        return Request(id=str(self._next), context=context, candidates=candidates, user=user)

    def capacity(self) -> float:
        """Answers a second with ``most`` requests under way."""
        free = threading.Semaphore(self._most)
        answered, start = 0, time.perf_counter()
        lock = threading.Lock()

        def done(future: Any) -> None:
            nonlocal answered
            with lock:
                answered += future.exception() is None
            free.release()

        while time.perf_counter() - start < SECONDS:
            free.acquire()
            self._service.rank(self._request()).add_done_callback(done)
        for _ in range(self._most):
            free.acquire()
        return answered / (time.perf_counter() - start)

    def alone(self) -> float:
        """Median milliseconds of one request at a time."""
        return float(np.median([self._one() for _ in range(200)]))

    def quiet(self) -> float:
        """The same of ``QUIET_PER_S`` requests a second, between which caches forget."""
        times, began = [], time.perf_counter()
        for number in range(int(QUIET_PER_S * QUIET_S)):
            time.sleep(max(0.0, began + number / QUIET_PER_S - time.perf_counter()))
            times.append(self._one())
        return float(np.median(times))

    def _one(self) -> float:
        start = time.perf_counter()
        self._service.rank(self._request()).result()
        return (time.perf_counter() - start) * 1e3

    def round(self) -> dict[str, float]:
        return {"capacity": self.capacity(), "alone_ms": self.alone(), "quiet_ms": self.quiet()}


def main() -> None:
    bundle, requests, workers, cores = sys.argv[1:]
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    place = place_of(bundle, Console(stderr=True))
    with serving([place], Back(streams=int(workers))) as service:
        parts = read(Path(requests), service.signature(place.name))
        bare = Bare(service, parts, most=4 * int(workers))
        bare.alone()
        work({"workers": workers}, bare.round)


if __name__ == "__main__":
    main()
