from larix.serve.http.statistics import model_statistics
from larix.serve.stats import Histogram, VersionStats


def test_stages_are_told_in_the_protocols_words():
    seconds = {
        "whole": Histogram((1.0,), (2, 1), 3.5),
        "dense": Histogram((1.0,), (3, 0), 0.25),
    }
    stats = VersionStats(
        model="m",
        version="1",
        answered=3,
        candidates=9,
        runs=2,
        last_ms=5,
        refused={"DATA": 1, "TOO_LATE": 2},
        seconds=seconds,
    )
    assert model_statistics([stats])["model_stats"] == [
        {
            "name": "m",
            "version": "1",
            "last_inference": 5,
            "inference_count": 9,
            "execution_count": 2,
            "inference_stats": {
                "success": {"count": 3, "ns": 3_500_000_000},
                "fail": {"count": 3, "ns": 0},
                "queue": {"count": 0, "ns": 0},
                "compute_input": {"count": 0, "ns": 0},
                "compute_infer": {"count": 3, "ns": 250_000_000},
                "compute_output": {"count": 0, "ns": 0},
            },
            "batch_stats": [],
        }
    ]
