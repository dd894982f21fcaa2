from prometheus_client.parser import text_string_to_metric_families

from larix.serve.oip import model_statistics
from larix.serve.stats import Histogram, VersionStats
from larix.serve.telemetry.metrics import Metrics
from larix.serve.workers.merged import merged_metrics, merged_statistics


def counted(version, answered, seconds, last_ms):
    whole = Histogram((0.1, 1.0), (answered, 0, 0), seconds)
    stats = VersionStats(
        model="m",
        version=version,
        answered=answered,
        candidates=3 * answered,
        runs=answered,
        last_ms=last_ms,
        seconds={"whole": whole},
        refused={"DATA": 2},
    )
    return model_statistics([stats])


def test_statistics_are_summed_by_version_and_the_latest_is_the_latest():
    one, other, second = counted("1", 4, 0.5, 70), counted("1", 6, 0.25, 90), counted("2", 1, 0.1, 5)
    both = {"model_stats": other["model_stats"] + second["model_stats"]}
    found = merged_statistics([one, both])["model_stats"]
    assert [(each["version"], each["inference_count"], each["last_inference"]) for each in found] == [
        ("1", 30, 90),
        ("2", 3, 5),
    ]
    assert found[0]["inference_stats"]["success"] == {"count": 10, "ns": 750_000_000}
    assert found[0]["inference_stats"]["fail"]["count"] == 4
    assert one == counted("1", 4, 0.5, 70), "what was given was changed"


def test_metrics_of_several_stand_by_family_with_a_label_of_whose_they_are():
    text = Metrics(None, lambda: {("GET", "/a b", 200): 3})()
    merged = merged_metrics(
        {"front": text, "0": text, "1": 'other{x="}"} 1\n'.join(["# TYPE other gauge\n", ""])}
    )
    families = {family.name: family for family in text_string_to_metric_families(merged)}
    assert merged.count("# TYPE larix_http_answers_total") == 1
    samples = families["larix_http_answers"].samples
    assert {sample.labels["worker"]: sample.value for sample in samples} == {"front": 3, "0": 3}
    assert {sample.labels["path"] for sample in samples} == {"/a b"}
    assert [sample.labels for sample in families["other"].samples] == [{"worker": "1", "x": "}"}]
    alone = {family.name for family in text_string_to_metric_families(text)}
    assert families.keys() == alone | {"other"}
