from larix.serve.oip import model_statistics
from larix.serve.stats import Histogram, VersionStats


def test_statistics_are_numbers_and_nanoseconds_by_stage():
    seconds = {
        "whole": Histogram((1.0,), (3, 1), 0.5),
        "queue": Histogram((1.0,), (4, 0), 0.125),
        "wait": Histogram((1.0,), (4, 0), 0.25),
        "dense": Histogram((1.0,), (2, 0), 1e-9),
    }
    stats = VersionStats(
        model="feed",
        version="2",
        answered=4,
        candidates=30,
        runs=2,
        last_ms=77,
        refused={"DATA": 1, "OVERLOADED": 4},
        seconds=seconds,
    )
    (said,) = model_statistics([stats])["model_stats"]
    assert (said["name"], said["version"], said["last_inference"]) == ("feed", "2", 77)
    assert (said["inference_count"], said["execution_count"]) == (30, 2)
    assert said["inference_stats"] == {
        "success": {"count": 4, "ns": 500_000_000},
        "queue": {"count": 4, "ns": 375_000_000},
        "compute_input": {"count": 0, "ns": 0},
        "compute_infer": {"count": 2, "ns": 1},
        "compute_output": {"count": 0, "ns": 0},
        "fail": {"count": 5, "ns": 0},
    }
    assert model_statistics([]) == {"model_stats": []}
