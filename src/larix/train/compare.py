"""A run's test metrics beside the references and the truth. Knows nothing of how they are shown."""

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]


def compare(metrics: Json) -> list[dict[str, Any]]:
    """Return one entry a task of the test: its name and metrics, and what they stand beside.

    ``best``: for auc, gauc and logloss, where a reference has it: the best ``value`` of all references, our
    ``delta`` to it, whether ours is ``better``. ``truth``: metrics of the true probabilities. ``way``: see
    ``way_learned``. ``metrics`` is a run's metrics.json, see ``write_report``.
    """
    results = []
    for name, ours in ((metrics.get("test") or {}).get("tasks") or {}).items():
        best = {}
        for kind, best_of in (("auc", max), ("gauc", max), ("logloss", min)):
            known = [
                reference[name][kind]
                for reference in (metrics.get("references") or {}).values()
                if reference.get(name, {}).get(kind) is not None
            ]
            if known and ours.get(kind) is not None:
                value = best_of(known)
                won = ours[kind] != value and best_of(ours[kind], value) == ours[kind]
                best[kind] = {"value": value, "delta": ours[kind] - value, "better": won}
        truth = (((metrics.get("truth") or {}).get("tasks")) or {}).get(name) or {}
        results.append({"name": name, "best": best, "truth": truth, "way": way_learned(ours, truth), **ours})
    return results


def way_learned(ours: Json, truth: Json) -> float | None:
    """Return how much of the AUC there is was learned: 0 at chance, 1 at the truth; None if unknown."""
    if ours.get("auc") is None or truth.get("auc") is None or truth["auc"] <= 0.5:
        return None
    return float((ours["auc"] - 0.5) / (truth["auc"] - 0.5))
