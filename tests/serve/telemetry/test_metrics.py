import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from larix.serve.engine.counts import ROWS, SECONDS, Tally
from larix.serve.service import ModelStatus, State, VersionStatus
from larix.serve.stats import EngineStats, ServiceStats, VersionStats
from larix.serve.telemetry.metrics import Metrics


def tally(bounds, values):
    made = Tally(bounds)
    for value in values:
        made.add(value)
    return made.shown()


class Told:
    """A Service that only tells numbers."""

    ready = True

    def __init__(self):
        values = [0.0001 * (step + 0.5) for step in range(2000)]
        version = VersionStats(
            model="feed",
            version="7",
            answered=5,
            candidates=2500,
            runs=4,
            refused={"OVERLOADED": 3, "DATA": 1},
            seconds={"dense": tally(SECONDS, values), "whole": tally(SECONDS, values)},
            missing={"video id": 9},
            gauges={"delta_age_s": 1.5, "hot_hits_total": 80.0},
        )
        self.told = ServiceStats(
            versions=(version, VersionStats(model="feed", version="8", gauges={"delta_age_s": 0.5})),
            engine=EngineStats(
                queued={"sparse": 2, "dense": 1},
                queued_rows=300,
                shed={"OVERLOADED": 3},
                late=2,
                run_rows=tally(ROWS, [50, 500, 1e9]),
            ),
            gauges={"sessions_open": 4.0, "sessions_opened_total": 6.0},
        )

    def stats(self, model=None):
        return self.told

    def models(self):
        ready = VersionStatus(version="7", state=State.READY)
        return [
            ModelStatus(
                name="feed", versions=(VersionStatus(version="8", state=State.LOADING), ready), live="7"
            )
        ]


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def samples(told):
    text = Metrics(told, lambda: {("POST", "/v1/rank", 200): 5, ("POST", "/v1/rank", 429): 3})()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parsed(text)
        for sample in family.samples
    }


SEVEN = (("model", "feed"), ("version", "7"))


def test_what_the_service_counts_is_told(samples):
    assert samples["larix_answers_total", *SEVEN] == 5
    assert samples["larix_candidates_total", *SEVEN] == 2500
    assert samples["larix_refused_total", *SEVEN, ("why", "OVERLOADED")] == 3
    assert (
        samples["larix_missing_values_total", ("model", "feed"), ("name", "video id"), ("version", "7")] == 9
    )
    assert samples["larix_engine_queued", ("stage", "sparse")] == 2
    assert samples["larix_engine_queued_rows",] == 300
    assert samples["larix_engine_shed_total", ("why", "OVERLOADED")] == 3
    assert samples["larix_engine_late_total",] == 2
    assert samples["larix_ready",] == 1
    assert samples["larix_version_ready", *SEVEN] == 1
    assert samples["larix_version_ready", ("model", "feed"), ("version", "8")] == 0
    assert samples["larix_version_live", *SEVEN] == 1
    assert (
        samples["larix_http_answers_total", ("method", "POST"), ("path", "/v1/rank"), ("status", "429")] == 3
    )


def test_what_versions_and_others_tell_by_name_is_told(samples):
    assert samples["larix_version_delta_age_s", *SEVEN] == 1.5
    assert samples["larix_version_delta_age_s", ("model", "feed"), ("version", "8")] == 0.5
    assert samples["larix_version_hot_hits_total", *SEVEN] == 80
    assert samples["larix_sessions_open",] == 4
    assert samples["larix_sessions_opened_total",] == 6


def test_the_process_tells_of_its_memory(samples):
    assert samples["process_resident_memory_bytes",] > 1 << 20


def test_buckets_are_cumulative_and_exact(samples, told):
    stage = ("model", "feed"), ("stage", "dense"), ("version", "7")
    buckets = {
        float(dict(labels)["le"]): value
        for (name, *labels), value in samples.items()
        if name == "larix_stage_seconds_bucket" and ("stage", "dense") in labels
    }
    assert len(buckets) > 20
    for bound, count in buckets.items():
        assert count == sum(0.0001 * (step + 0.5) <= bound for step in range(2000))
    assert buckets[float("inf")] == samples["larix_stage_seconds_count", *stage] == 2000
    assert samples["larix_stage_seconds_sum", *stage] == pytest.approx(
        told.told.versions[0].seconds["dense"].total
    )
    assert samples["larix_engine_run_rows_count",] == 3
    assert samples["larix_engine_run_rows_bucket", ("le", "+Inf")] == 3
    assert samples["larix_engine_run_requests_count",] == 0


def test_types_tell_counters_from_gauges(told):
    types = {family.name: family.type for family in parsed(Metrics(told)())}
    assert types["larix_sessions_opened"] == "counter"
    assert types["larix_sessions_open"] == "gauge"
    assert types["larix_stage_seconds"] == "histogram"


def test_what_there_is_may_change_between_readings(told):
    metrics = Metrics(told)
    before = metrics()
    told.told = ServiceStats(gauges={"feedback_written_rows_total": 3.0})
    after = metrics()
    assert "larix_answers_total{" in before
    assert "larix_answers_total{" not in after
    assert "larix_feedback_written_rows_total 3.0" in after


def test_names_are_made_fit(told):
    told.told = ServiceStats(gauges={"rows of é-tables": 1.0})
    assert "larix_rows_of___tables 1.0" in Metrics(told)()
