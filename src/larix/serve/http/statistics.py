"""What was counted of versions, in the Open Inference Protocol's words. Knows nothing of who counts."""

from collections.abc import Sequence
from typing import Any

from larix.serve.stats import Histogram, VersionStats

_NOTHING = Histogram((), (0,), 0.0)
_STAGES = {
    "success": "whole",
    "queue": "queue",
    "compute_input": "sparse",
    "compute_infer": "dense",
    "compute_output": "page",
}


def model_statistics(versions: Sequence[VersionStats]) -> dict[str, Any]:
    """Of each version: numbers of requests and runs, and cumulated nanoseconds by stage."""
    return {"model_stats": [_of(each) for each in versions]}


def _of(stats: VersionStats) -> dict[str, Any]:
    stages = {name: _duration(stats.seconds.get(stage, _NOTHING)) for name, stage in _STAGES.items()}
    return {
        "name": stats.model,
        "version": stats.version,
        "last_inference": stats.last_ms,
        "inference_count": stats.candidates,
        "execution_count": stats.runs,
        "inference_stats": stages | {"fail": {"count": sum(stats.refused.values()), "ns": 0}},
        "batch_stats": [],
    }


def _duration(seconds: Histogram) -> dict[str, int]:
    return {"count": seconds.count, "ns": round(seconds.total * 1e9)}
