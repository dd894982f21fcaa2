"""What Prometheus reads: the numbers of a Service as text. Knows nothing of how they are counted, nor of who serves the text.

Needs ``larix[serve]``.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from larix.serve.service import ModelStatus, Service, State
from larix.serve.stats import EngineStats, Histogram, ServiceStats, VersionStats

Calls = Mapping[tuple[str, str, int], int]
_VERSION = ("model", "version")
_EVERY = (
    2  # bounds of a histogram that are shown: counts are cumulative, so what is left out costs no exactness
)


class Metrics:
    """``service``: whose numbers, None for those of the process alone. ``calls``: HTTP answers by method, route and status.

    Call it for the text, in Prometheus' format 0.0.4; it takes milliseconds. Beside the service's numbers stand those of
    the process: memory, CPU time, open files, garbage collection.
    """

    def __init__(self, service: Service | None, calls: Callable[[], Calls] = dict) -> None:
        self._service, self._calls = service, calls
        self._registry = CollectorRegistry(support_collectors_without_names=True)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def __call__(self) -> str:
        """The text of all metrics as of now."""
        return generate_latest(self._registry).decode()

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is may change from one reading to the next."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """All metrics as of now, as prometheus_client asks for them."""
        if self._service is not None:
            stats = self._service.stats()
            yield _gauge("ready", "Whether requests are answered now.", self._service.ready)
            yield from _models(self._service.models())
            yield from _versions(stats.versions)
            yield from _engine(stats.engine)
            yield from _gauges(stats)
        calls = CounterMetricFamily(
            "larix_http_answers", "Answers by method, route and status.", labels=("method", "path", "status")
        )
        for (method, path, status), count in sorted(self._calls().items()):
            calls.add_metric((method, path, str(status)), count)
        yield calls


def _models(models: Sequence[ModelStatus]) -> Iterable[Metric]:
    ready = GaugeMetricFamily(
        "larix_version_ready", "1 for a version that is loaded and answers.", labels=_VERSION
    )
    live = GaugeMetricFamily("larix_version_live", "1 for a model's live version.", labels=_VERSION)
    for model in models:
        for each in model.versions:
            ready.add_metric((model.name, each.version), each.state is State.READY)
            live.add_metric((model.name, each.version), each.version == model.live)
    return ready, live


def _versions(versions: Sequence[VersionStats]) -> Iterable[Metric]:
    def counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
        return CounterMetricFamily(f"larix_{name}", text, labels=(*_VERSION, *labels))

    answered = counter("answers", "Requests answered.")
    candidates = counter("candidates", "Candidates scored in answered requests.")
    runs = counter("runs", "Runs of the dense stage.")
    refused = counter("refused", "Requests not answered, by reason; DATA: malformed.", "why")
    missing = counter(
        "missing_values", "Values that were not given or have no row, by slot or column.", "name"
    )
    seconds = HistogramMetricFamily(
        "larix_stage_seconds", "Seconds of answered requests by stage.", labels=(*_VERSION, "stage")
    )
    for each in versions:
        whose = (each.model, each.version)
        answered.add_metric(whose, each.answered)
        candidates.add_metric(whose, each.candidates)
        runs.add_metric(whose, each.runs)
        for family, counts in ((refused, each.refused), (missing, each.missing)):
            for name, count in counts.items():
                family.add_metric((*whose, name), count)
        for stage, histogram in each.seconds.items():
            _add(seconds, (*whose, stage), histogram)
    return answered, candidates, runs, refused, missing, seconds


def _engine(engine: EngineStats) -> Iterable[Metric]:
    for name, text, counts in (
        ("queued", "Work that waits now, by stage.", engine.queued),
        ("running", "Work under way now, by stage.", engine.running),
    ):
        yield _by(GaugeMetricFamily(f"larix_engine_{name}", text, labels=("stage",)), counts)
    for name, text, value in (
        ("queued_rows", "Candidates of all requests under way.", engine.queued_rows),
        ("queued_bytes", "Bytes of all requests under way.", engine.queued_bytes),
        ("wait_seconds", "What a request would wait now before work on it begins.", engine.wait_s),
        ("speed", "Seconds of work done in a second while there is enough to do.", engine.speed),
        ("hanging_threads", "Threads that hang now.", engine.hanging),
    ):
        yield _gauge(f"engine_{name}", text, value)
    shed = CounterMetricFamily(
        "larix_engine_shed", "Requests refused at the door, by reason.", labels=("why",)
    )
    yield _by(shed, engine.shed)
    for name, text, count in (
        ("admitted", "Requests let in.", engine.admitted),
        ("late", "Requests dropped before a stage, as their deadline had passed.", engine.late),
        ("cancelled", "Requests cancelled by whoever asked.", engine.cancelled),
        ("inline", "Requests answered on the caller's own thread.", engine.inline),
        ("split", "Requests that went in several runs.", engine.split),
        ("replaced_threads", "Threads that died and were replaced.", engine.replaced),
    ):
        yield CounterMetricFamily(f"larix_engine_{name}", text, value=count)
    for name, text, histogram in (
        ("run_rows", "Candidates of a dense run.", engine.run_rows),
        ("run_requests", "Requests that share a dense run.", engine.run_requests),
    ):
        family = HistogramMetricFamily(f"larix_engine_{name}", text)
        _add(family, (), histogram)
        yield family


def _gauges(stats: ServiceStats) -> Iterable[Metric]:
    """What versions and others tell by name; a name that ends in ``_total`` is of a counter."""
    families: dict[str, Metric] = {}
    for labels, gauges in [((), stats.gauges)] + [
        ((each.model, each.version), each.gauges) for each in stats.versions
    ]:
        for told, value in gauges.items():
            name = "larix_" + ("version_" if labels else "") + re.sub(r"\W", "_", told, flags=re.ASCII)
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            if name not in families:
                families[name] = kind(
                    name, f"{told}, as the server tells it.", labels=_VERSION if labels else ()
                )
            family = families[name]
            assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
            family.add_metric(labels, value)
    return families.values()


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"larix_{name}", text, value=value)


def _by(family: CounterMetricFamily | GaugeMetricFamily, counts: Mapping[str, int]) -> Metric:
    for name, count in counts.items():
        family.add_metric((name,), count)
    return family


def _add(family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram) -> None:
    buckets, so_far = [], 0
    for at, (bound, count) in enumerate(zip(histogram.bounds, histogram.counts, strict=False)):
        so_far += count
        if at % _EVERY == 0 or at + 1 == len(histogram.bounds):
            buckets.append((f"{bound:g}", float(so_far)))
    buckets.append(("+Inf", float(histogram.count)))
    family.add_metric(labels, buckets, histogram.total)
