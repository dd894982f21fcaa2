import sys
import threading
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from sided import STAMP, asking

from larix.errors import ConfigError
from larix.serve import Answer, Refusal, Why
from larix.serve.telemetry import Traces, below, to_collector

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def answer(**seconds):
    return Answer(
        id="r", stamp=STAMP, order=np.zeros(0, np.int64), value=np.zeros(0), predictions={}, seconds=seconds
    )


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def traces(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider)


def spans(exporter):
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_request_is_a_span_with_its_stages_end_to_end(traces, exporter):
    future = Future()
    traces.follow("rank", asking("s", [1, 2, 3], id="r1"), future)
    assert spans(exporter) == {}
    future.set_result(answer(dense=0.004, queue=0.001, sparse=0.002, whole=0.007))
    found = spans(exporter)
    assert set(found) == {"rank", "queue", "sparse", "dense"}
    rank = found["rank"]
    assert rank.attributes == {
        "larix.request": "r1",
        "larix.candidates": 3,
        "larix.in_session": True,
        "larix.model": "feed",
        "larix.version": "v1",
        "larix.rows": 0,
        "larix.dense": 0,
    }
    at = rank.start_time
    for stage, seconds in (("queue", 0.001), ("sparse", 0.002), ("dense", 0.004)):
        span = found[stage]
        assert span.parent.span_id == rank.context.span_id
        assert span.start_time == at
        at += round(seconds * 1e9)
        assert span.end_time == pytest.approx(at, abs=2)


def test_what_was_answered_at_once_began_before(traces, exporter):
    future = Future()
    future.set_result(answer(dense=0.5, whole=0.5))
    traces.follow("rank", asking(""), future)
    rank = spans(exporter)["rank"]
    assert rank.end_time - rank.start_time >= 500_000_000


def test_a_span_continues_the_trace_of_who_asks(traces, exporter):
    with below({"traceparent": PARENT, "authorization": "secret"}):
        traces.follow("rank", asking(""), done(answer()))
    traces.follow("other", asking(""), done(answer()))
    found = spans(exporter)
    assert f"{found['rank'].context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{found['rank'].parent.span_id:016x}" == PARENT.split("-")[2]
    assert found["other"].parent is None


def done(result):
    future = Future()
    future.set_result(result)
    return future


@pytest.mark.parametrize(
    "header", ["", "nonsense", "00-0-0-0", "ff-" + PARENT[3:], "00-" + "0" * 32 + PARENT[35:]]
)
def test_a_malformed_parent_is_none(traces, exporter, header):
    with below({"traceparent": header}):
        traces.follow("rank", asking(""), done(answer()))
    assert spans(exporter)["rank"].parent is None


def test_refusals_faults_and_cancelled_ones_say_so(traces, exporter):
    for error in (Refusal(Why.OVERLOADED, "full"), ValueError("a bug")):
        future = Future()
        traces.follow(str(error), asking(""), future)
        future.set_exception(error)
    future = Future()
    traces.follow("cancelled", asking(""), future)
    future.cancel()
    found = spans(exporter)
    assert found["full"].attributes["larix.refused"] == "OVERLOADED"
    assert not found["full"].status.is_ok
    assert found["a bug"].attributes["larix.refused"] == "ValueError"
    assert found["cancelled"].attributes["larix.cancelled"]


def test_what_is_not_sampled_costs_no_callback():
    future = Future()
    Traces(TracerProvider(sampler=ALWAYS_OFF)).follow("rank", asking(""), future)
    assert future._done_callbacks == []


def test_spans_reach_a_collector_over_otlp(monkeypatch):
    posted = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    provider = to_collector("a-ranker")
    Traces(provider).follow("rank", asking("", id="request-17"), done(answer()))
    assert provider.force_flush(20_000)
    provider.shutdown()
    server.shutdown()
    server.server_close()
    [(path, body)] = posted
    assert path == "/v1/traces"
    assert b"request-17" in body
    assert b"a-ranker" in body


def test_without_the_extra_it_says_which(monkeypatch):
    provider = TracerProvider()
    monkeypatch.setitem(sys.modules, "opentelemetry.trace.propagation.tracecontext", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    for make in (lambda: Traces(provider), to_collector):
        with pytest.raises(ConfigError, match=r"larix\[otel\]"):
            make()
