"""Requests as OpenTelemetry spans: one for each, with one below it for each stage. Knows nothing of who collects them.

Needs the extra ``larix[otel]``, when traces are made.
"""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from larix.errors import ConfigError
from larix.serve.refusal import Refusal
from larix.serve.request import Answer, Request

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

HEADERS = ("traceparent", "tracestate")
"""That carry a trace from one process to the next, as W3C has them."""
_ORDER = ("queue", "sparse", "wait", "dense", "page")  # in which a request passes them
_NONE: Mapping[str, str] = MappingProxyType({})
_parent: ContextVar[Mapping[str, str]] = ContextVar("parent", default=_NONE)


@contextmanager
def below(headers: Mapping[str, str]) -> Iterator[None]:
    """What is followed within, on this thread or in this task, belongs to the trace that ``headers`` carry."""
    token = _parent.set({name: headers[name] for name in HEADERS if name in headers})
    try:
        yield
    finally:
        _parent.reset(token)


def to_collector(service: str = "larix") -> "TracerProvider":
    """What sends spans to a collector over OTLP, as the standard OTEL_* variables of the environment say."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError("traces need opentelemetry; pip install 'larix[otel]'") from error
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Traces:
    """``provider``: what makes tracers; it samples and exports. Any number of threads may call."""

    def __init__(self, provider: "TracerProvider") -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise ConfigError("traces need opentelemetry; pip install 'larix[otel]'") from error
        self._trace: Any = trace
        self._tracer = provider.get_tracer("larix.serve")
        self._carried = TraceContextTextMapPropagator()

    def follow(self, name: str, request: Request, answer: "Future[Answer]") -> None:
        """Make a span ``name`` of a request that is asked now, until its answer is there; takes microseconds.

        Attributes: the request's id, its number of candidates and session; of the answer the version and its state. Below
        it stages lie end to end, as long as the answer says that they took: where they overlapped is not known.
        """
        began = time.time_ns()
        if answer.done() and not answer.cancelled() and answer.exception() is None:  # on this very thread
            began -= int(answer.result().seconds.get("whole", 0.0) * 1e9)
        span = self._tracer.start_span(
            name,
            context=self._carried.extract(_parent.get()),
            kind=self._trace.SpanKind.SERVER,
            start_time=began,
            attributes={
                "larix.request": request.id,
                "larix.candidates": request.candidates.num_rows,
                "larix.in_session": bool(request.session),
            },
        )
        if span.is_recording():
            answer.add_done_callback(lambda done: self._over(span, began, done))

    def _over(self, span: Any, began: int, answer: "Future[Answer]") -> None:
        if answer.cancelled():
            span.set_attribute("larix.cancelled", True)
        elif (error := answer.exception()) is not None:
            why = error.why.name if isinstance(error, Refusal) else type(error).__name__
            span.set_attribute("larix.refused", why)
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, str(error)))
        else:
            self._answered(span, began, answer.result())
        span.end()

    def _answered(self, span: Any, began: int, answer: Answer) -> None:
        stamp = answer.stamp
        span.set_attributes(
            {
                "larix.model": stamp.model,
                "larix.version": stamp.version,
                "larix.rows": stamp.rows,
                "larix.dense": stamp.dense,
            }
        )
        below_it = self._trace.set_span_in_context(span)
        at = began
        for stage in _ORDER:
            if stage in answer.seconds:
                part = self._tracer.start_span(stage, context=below_it, start_time=at)
                at += int(answer.seconds[stage] * 1e9)
                part.end(at)
