"""A service whose answers are known, behind a real gRPC server on loopback, for tests of the protocol."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
import tritonclient.grpc as triton
from asked import SIGNATURE, TASKS
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from larix.serve import Answer, Refusal, Request, Stamp, Why
from larix.serve.grpc import GrpcLimits, GrpcServer
from larix.serve.service import ModelStatus, State, VersionStatus
from larix.serve.stats import Histogram, ServiceStats, VersionStats
from larix.serve.telemetry import Traces

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # a traceparent


class KnownService:
    """One model, `feed`. An item is worth its rate; ``error``: what every request gets instead; ``slow``: none is answered;
    ``full``: the refusal that nobody needs to be read for.

    ``requests``: those that came. ``done``: loads and unloads. ``futures``: of requests.
    """

    live, ready, feedback, sessions = True, True, None, None

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.futures: list[Future[Answer]] = []
        self.done: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self.slow = False
        self.full: Refusal | None = None

    def rank(self, request: Request) -> "Future[Answer]":
        self.requests.append(request)
        future: Future[Answer] = Future()
        self.futures.append(future)
        if self.error is not None:
            future.set_exception(self.error)
        elif not self.slow:
            future.set_result(answer_to(request))
        return future

    def check_room(self):
        if self.full is not None:
            raise self.full

    def models(self):
        versions = (
            VersionStatus(version="2", state=State.READY),
            VersionStatus(version="1", state=State.UNAVAILABLE, reason="damaged"),
        )
        return [ModelStatus(name="feed", versions=versions, live="2"), ModelStatus(name="empty")]

    def signature(self, model, version=""):
        if model != "feed" or version not in ("", "2"):
            raise Refusal(Why.UNKNOWN, f"there is no model '{model}' of version '{version}'")
        return SIGNATURE

    def tasks(self, model, version=""):
        self.signature(model, version)
        return TASKS

    def load(self, model):
        if model not in ("feed", "empty"):
            raise Refusal(Why.UNKNOWN, f"there is no model '{model}'")
        time.sleep(0.05)
        self.done.append(("load", model))

    def unload(self, model):
        self.signature(model)
        self.done.append(("unload", model))

    def stats(self, model=None):
        seconds = {"whole": Histogram((1.0,), (3, 0), 0.5), "dense": Histogram((1.0,), (2, 0), 0.25)}
        feed = VersionStats(
            model="feed", version="2", answered=3, candidates=30, runs=2, last_ms=77, refused={"OVERLOADED": 4}, seconds=seconds
        )  # fmt: skip
        return ServiceStats(versions=(feed,) if model in (None, "feed") else ())

    def drain(self, timeout_s):
        return True


class Followed(KnownService):
    """Its requests are spans: ``spans`` gives those that were answered."""

    def __init__(self) -> None:
        super().__init__()
        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        self._traces, self.spans = Traces(provider), exporter.get_finished_spans

    def rank(self, request: Request) -> "Future[Answer]":
        future = super().rank(request)
        self._traces.follow("rank", request, future)
        return future


def answer_to(request: Request) -> Answer:
    n = len(request.candidates)
    rates = request.candidates.column("rate").fill_null(0.0).to_numpy()
    return Answer(
        id=request.id,
        stamp=Stamp(model="feed", version="2", history="line", rows=30, dense=20, event_ms=99),
        order=np.argsort(-rates, kind="stable")[: request.count].astype(np.int64),
        value=rates.astype(np.float64),
        predictions={"is_click": rates, "play": np.arange(n, dtype=np.float32)},
        missing={"tag": 1},
    )


@contextmanager
def served(service: KnownService, *, limits: GrpcLimits | None = None, **more) -> Iterator[GrpcServer]:
    server = GrpcServer(service, limits=limits or GrpcLimits(stop_s=0.5), **more)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def tensor(name, array, datatype):
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def asked(n=4):
    """What a client sends to have ``n`` candidates scored."""
    return [
        tensor("user_id", np.array([5]), "INT64"),
        tensor("city", np.array(["Čáslav".encode()], np.object_), "BYTES"),
        tensor("past", np.array([[7, 8, 9]]), "INT64"),
        tensor("video_id", np.arange(n), "INT64"),
        tensor("rate", np.linspace(0, 1, n, dtype=np.float32), "FP32"),
        tensor("new", np.arange(n) % 2 == 0, "BOOL"),
        tensor("tag", np.arange(2 * n), "INT64"),
        tensor("tag.lengths", np.full(n, 2), "INT64"),
        tensor("kind", np.array([b"\xff" * i for i in range(n)], np.object_), "BYTES"),
    ]
