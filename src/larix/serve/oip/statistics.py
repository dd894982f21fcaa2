"""What was counted of versions, in the Open Inference Protocol's words. Knows nothing of who counts."""

from collections.abc import Sequence
from typing import Any

from larix.serve.stats import Histogram, VersionStats

_STAGES = {
    "success": ("whole",),
    "queue": ("queue", "wait"),
    "compute_input": ("sparse",),
    "compute_infer": ("dense",),
    "compute_output": ("page",),
}
_NOTHING = Histogram((), (0,), 0.0)


def model_statistics(versions: Sequence[VersionStats]) -> dict[str, Any]:
    """Of each version: requests and candidates answered, runs, and nanoseconds by stage, all together.

    An inference is a candidate, an execution a run of several requests' candidates.
    """
    return {"model_stats": [_of(each) for each in versions]}


def _of(stats: VersionStats) -> dict[str, Any]:
    stages = {
        name: _duration([stats.seconds.get(stage, _NOTHING) for stage in parts])
        for name, parts in _STAGES.items()
    }
    return {
        "name": stats.model,
        "version": stats.version,
        "last_inference": stats.last_ms,
        "inference_count": stats.candidates,
        "execution_count": stats.runs,
        "inference_stats": stages | {"fail": {"count": sum(stats.refused.values()), "ns": 0}},
    }


def _duration(parts: Sequence[Histogram]) -> dict[str, int]:
    return {"count": parts[0].count, "ns": round(sum(each.total for each in parts) * 1e9)}
