"""The report's part on a replay: an online model beside the frozen one, over time, and how fresh its answers were.

Knows what ``write_report`` says of ``online`` in metrics.json; knows nothing of how a replay is made.
"""

from collections.abc import Mapping
from typing import Any

from larix.train.charts import curves, reliability
from larix.train.compare import Json
from larix.train.wording import count, days

_HOUR_MS = 3_600_000
_CURVED = 2  # tasks that get curves over time: the first ones
_FEW = 100  # positives of a window below which its ranking is mostly noise


def live_report(online: Json) -> dict[str, Any] | None:
    """What the page shows of a replay; None if there was none.

    ``facts``: (label, value, small print). ``rows``: a binary task each, ``{name, online, frozen, trees, served, fresh}``,
    each a mapping of figures. ``curves``, ``calibration``, ``freshness``: (title, SVG); SVG is "" where there is too little.
    """
    if not online:
        return None
    total = online.get("total") or {}
    tasks = [name for name, each in (total.get("online") or {}).items() if each.get("kind") == "binary"]
    return {
        "facts": _facts(online),
        "rows": [_row(online, task) for task in tasks],
        "curves": _curves(online, tasks[:_CURVED]),
        "calibration": [_calibration(online, number, task) for number, task in enumerate(tasks)],
        "freshness": _freshness(online),
        **{
            name: online.get(name)
            for name in ("state", "window_s", "lateness_s", "speed", "measured", "restarts", "days")
        },
        "references": list(online.get("references") or {}),
        "samples": total.get("samples"),
        "fresh": (online.get("new_items") or {}).get("samples"),
    }


def _facts(online: Json) -> list[tuple[str, str, str]]:
    fresh, speed = online.get("freshness") or {}, online.get("speed")
    facts = [
        ("replayed", days(online["days"]) if online.get("days") else "–", ""),
        ("events", count(online.get("events")), ""),
        ("speed-up", "as fast as learned" if speed is None else f"{speed:g}", ""),
        ("samples learned", count(online.get("samples")), ""),
        ("impressions answered", count(online.get("answers")), ""),
        ("deltas", count(online.get("published")), f"{count(online.get('published_rows'))} rows"),
    ]
    if fresh.get("p50_s") is not None:
        queue = ", of which most in a queue kept full" if speed is None else ""
        facts.append(("fresh, median", f"{fresh['p50_s']:.2f} s", f"p99 {fresh['p99_s']:.2f} s{queue}"))
    return facts


def _row(online: Json, task: str) -> dict[str, Any]:
    def of(part: str, model: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = ((online.get(part) or {}).get(model) or {}).get(task) or {}
        return found

    trees = [each[task] for each in (online.get("references") or {}).values() if task in each]
    best = {
        key: pick(each[key] for each in trees)
        for key, pick in (("auc", max), ("gauc", max), ("logloss", min))
        if trees
    }
    return {
        "name": task,
        "online": of("total", "online"),
        "frozen": of("total", "frozen"),
        "served": of("served", "tasks"),
        "trees": best,
        "new": {"online": of("new_items", "online"), "frozen": of("new_items", "frozen")},
    }


def _curves(online: Json, tasks: list[str]) -> list[tuple[str, str]]:
    windows = online.get("windows") or []
    if not windows:
        return []
    begin = windows[0]["last_ms"]
    found = []
    for number, (task, key, title) in enumerate(
        (task, key, title)
        for task in tasks
        for key, title in (("auc", "AUC"), ("gauc", "GAUC"), ("calibration", "calibration"))
    ):
        lines: dict[str, list[tuple[float, float]]] = {}
        for model in ("online", "frozen"):
            entries = [(window["last_ms"], window.get(model, {}).get(task, {})) for window in windows]
            lines[model] = [
                ((at - begin) / _HOUR_MS, each[key])
                for at, each in entries
                if each.get(key) is not None and each.get("positives", 0) >= _FEW
            ]
        caption = f"{title} of {task} over the replay, the online and the frozen model"
        found.append((f"{task}: {title}", curves(f"live{number}", caption, lines, across="hours")))
    return found


def _calibration(online: Json, number: int, task: str) -> tuple[str, str]:
    curve = (((online.get("total") or {}).get("online") or {}).get(task) or {}).get("curve") or []
    points = [(point["predicted"], point["observed"]) for point in curve]
    return task, reliability(f"livecal{number}", f"Calibration of {task} in the replay", points)


def _freshness(online: Json) -> tuple[str, str]:
    points = [(second, 100 * share) for second, share in (online.get("freshness") or {}).get("curve") or []]
    caption = "Share of samples that an answer had learned from, by seconds since their actions could be"
    return "% of samples, by seconds", curves(
        "livefresh", caption, {"": points}, across="seconds", floor=True
    )
