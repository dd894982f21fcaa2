"""A run folder's ``config.json`` and ``metrics.json`` as one page, ``report.html``, that needs no network.

Knows what those files say (see ``write_report``), not how a run was made. Whatever is missing is left out.
"""

import json
import math
from itertools import accumulate
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from larix.errors import StorageError
from larix.train.charts import curves, reliability
from larix.train.compare import Json, compare
from larix.train.live_report import live_report
from larix.train.wording import count, days, delta, metric, percent, size, span

FEW = 20  # fewer positives than this and a scene's ranking metrics are mostly noise: shown muted
STATES = {"finished": "finished", "interrupted": "interrupted", "running": "not finished"}
PHASES = ("read", "lookup", "dense", "update")


def write_report(folder: Path | str) -> Path:
    """Write ``folder/report.html`` and return its path; StorageError for a damaged file or a failed write.

    ``config.json``: any nested settings, listed; ``recipe`` names the run, ``versions`` stand apart.
    ``metrics.json``, every key optional::

        state        "finished" | "interrupted" | "running"
        data         what a data card says {rows, users, items, videos, authors, days, repeats_dropped,
                      rates: {label: rate}, nulls: {column: share}} and {name, synthetic: bool,
                      train: {rows, days}, test: {rows, days}, notes: [sentence]}; days: ISO dates
        steps        [{step, samples, seconds, loss: {task: value},    totals; mean loss since the last entry
                       store: {rows, bytes, lookups, hits, evicted, refused}}]   now; counts since the last entry
        evaluations  [{step, samples, tasks: {task: metrics}}]         held-out metrics while training
        test, truth  from ``Metrics.compute``: the model and, on synthetic data, the true probabilities
        references   {name: {task: {auc, gauc, logloss}}}              published figures to stand beside ours
        diversity    {page, window, requests, candidates, vectors, curves: {method: [{given_up, distance,
                       coverage: {category: ids}}]}}                   pages, relevance alone first
        phases       {read, lookup, dense, update: seconds}            where the time of the steps went
        tables       {name: {dim, rows, bytes}}
        dense_parameters, peak_rss_bytes
        online       of a replay: {state, days, measured, speed, window_s, lateness_s, restarts, events, samples, answers,
                      published, published_rows, total, new_items: {samples, online, frozen: {task: metrics}},
                      windows: [{last_ms, samples, online, frozen}], served: {samples, tasks: {task: metrics}},
                      freshness: {p50_s, p99_s, curve: [[seconds, share]]}, references: as above}
    """
    folder = Path(folder)
    config, metrics = _read(folder / "config.json"), _read(folder / "metrics.json")
    page = render(config, metrics)
    path = folder / "report.html"
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"the report could not be written to {path}: {error.strerror}") from error
    return path


def render(config: Json, metrics: Json) -> str:
    """Return the page as text; see ``write_report`` for what ``config`` and ``metrics`` hold."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.ChainableUndefined
    )
    environment.filters |= {
        "count": count,
        "metric": metric,
        "percent": percent,
        "size": size,
        "span": span,
        "days": days,
        "delta": delta,
    }
    template = environment.from_string(Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8"))
    steps = metrics.get("steps") or []
    return template.render(
        config=_settings(
            {name: value for name, value in config.items() if name not in ("versions", "recipe")}
        ),
        versions=config.get("versions") or {},
        recipe=config.get("recipe"),
        state=STATES.get(metrics.get("state", "running"), "not finished"),
        last=steps[-1] if steps else {},
        results=compare(metrics),
        scenes=_scenes(metrics),
        charts={name: [Markup(svg) for svg in svgs if svg] for name, svgs in _charts(metrics).items()},
        phases=_phases(metrics),
        speed=_speed(steps),
        few=FEW,
        card=_card(
            metrics.get("data") or {}, (metrics.get("test") or {}).get("tasks") or config.get("tasks") or {}
        ),
        tables=_tables(metrics),
        **{name: metrics.get(name) or {} for name in ("data", "test", "truth", "references", "diversity")},
        live=_live(metrics.get("online") or {}),
        dense_parameters=metrics.get("dense_parameters"),
        peak_rss_bytes=metrics.get("peak_rss_bytes"),
    )


def _live(online: Json) -> Json | None:
    found = live_report(online)
    if found is None:
        return None
    figures = {
        name: [Markup(figure) for title, svg in found[name] if (figure := _figure(title, svg))]
        for name in ("curves", "calibration")
    }
    return found | figures | {"freshness": Markup(_figure(*found["freshness"]))}


def _read(path: Path) -> Json:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}; restore it or run the training again") from error
    if not isinstance(value, dict):
        raise StorageError(
            f"{path} holds a {type(value).__name__}, not a JSON object; it was not written by larix"
        )
    return value


def _scenes(metrics: Json) -> list[dict[str, Any]]:
    scenes = (metrics.get("test") or {}).get("scenes") or {}
    return [
        {"name": name, "tasks": tasks, "count": max((task["count"] for task in tasks.values()), default=0)}
        for name, tasks in scenes.items()
    ]


def _speed(steps: list[Json]) -> list[tuple[float, float]]:
    """Return (samples seen, samples a second since the entry before)."""
    ends = [
        (entry["samples"], entry["seconds"]) for entry in steps if "samples" in entry and "seconds" in entry
    ]
    pairs = zip([(0, 0.0), *ends[:-1]], ends, strict=True) if ends else []
    return [(n, (n - before) / (t - start)) for (before, start), (n, t) in pairs if t > start]


def _phases(metrics: Json) -> list[dict[str, Any]]:
    phases = metrics.get("phases") or {}
    total = sum(phases.values())
    order = [*(name for name in PHASES if name in phases), *(name for name in phases if name not in PHASES)]
    return (
        [{"name": name, "seconds": phases[name], "share": phases[name] / total} for name in order]
        if total > 0
        else []
    )


def _charts(metrics: Json) -> dict[str, list[str]]:
    steps, evaluations = metrics.get("steps") or [], metrics.get("evaluations") or []
    test = (metrics.get("test") or {}).get("tasks") or {}
    losses = dict.fromkeys(task for entry in steps for task in entry.get("loss", {}))
    tasks = dict.fromkeys(task for entry in evaluations for task in entry.get("tasks", {}))
    charts: dict[str, list[str]] = {"loss": [], "ranking": [], "calibration": []}
    for number, task in enumerate(losses):
        line = _line(steps, lambda entry, task=task: entry.get("loss", {}).get(task))
        charts["loss"].append(
            _figure(task, curves(f"loss{number}", f"Training loss of {task}", {"loss": line}))
        )
    for number, task in enumerate(tasks):
        lines = {
            label: _line(
                evaluations, lambda entry, task=task, key=key: entry.get("tasks", {}).get(task, {}).get(key)
            )
            for label, key in (("AUC", "auc"), ("GAUC", "gauc"), ("XAUC", "xauc"))
        }
        svg = curves(f"rank{number}", f"Ranking of {task} on held-out samples", lines)
        charts["ranking"].append(_figure(task, svg))
    for number, (task, result) in enumerate(test.items()):
        points = [(point["predicted"], point["observed"]) for point in result.get("curve", [])]
        svg = reliability(f"cal{number}", f"Calibration of {task}", points)
        charts["calibration"].append(_figure(task, svg))
    charts["diversity"] = _diversity(metrics.get("diversity") or {})
    charts["store"] = [
        _figure(title, curves(f"store{number}", f"{title} while training", lines, floor=True))
        for number, (title, lines) in enumerate(_store(steps).items())
    ]
    charts["speed"] = [curves("speed", "Samples a second while training", {"": _speed(steps)}, floor=True)]
    return charts


def _diversity(diversity: Json) -> list[str]:
    """Draw distance and the categories of a page over the share of relevance that is given up, a line a method."""
    methods = diversity.get("curves") or {}
    categories = dict.fromkeys(
        name for curve in methods.values() for point in curve for name in point["coverage"]
    )
    drawn = []
    for number, name in enumerate((None, *categories)):
        lines = {
            method: [
                (100 * point["given_up"], point["distance"] if name is None else point["coverage"][name])
                for point in curve
            ]
            for method, curve in methods.items()
        }
        title = "distance between items of a page" if name is None else f"different {name}s on a page"
        svg = curves(
            f"div{number}",
            f"{title}, by method",
            lines,
            across="% of relevance given up",
            floor=name is not None,
        )
        drawn.append(_figure(title, svg))
    return [figure for figure in drawn if figure]


def _store(steps: list[Json]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Lines of what the tables hold and do: rows, memory, hit rate; evicted and refused ids where there are any."""
    kept = [entry for entry in steps if entry.get("store", {}).get("lookups")]
    shown = {
        "rows": {"": _line(kept, lambda entry: entry["store"]["rows"])},
        "bytes of memory": {"": _line(kept, lambda entry: entry["store"]["bytes"])},
        "hit rate": {"": _line(kept, lambda entry: entry["store"]["hits"] / entry["store"]["lookups"])},
    }
    for name, title in (("evicted", "rows evicted"), ("refused", "ids refused a row")):
        totals = list(accumulate(entry["store"][name] for entry in kept))
        if totals and totals[-1]:
            shown[title] = {
                "": [(entry["samples"], total) for entry, total in zip(kept, totals, strict=True)]
            }
    return shown


def _figure(title: str, svg: str) -> str:
    return f"<figure><figcaption>{Markup.escape(title)}</figcaption>{svg}</figure>" if svg else ""


def _line(entries: list[Json], value: Any) -> list[tuple[float, float]]:
    points = [(entry.get("samples", entry.get("step")), value(entry)) for entry in entries]
    return [(x, y) for x, y in points if x is not None and y is not None and math.isfinite(y)]


def _card(data: Json, tasks: Json) -> list[tuple[str, str, str]]:
    """List label, value and small print of each fact of the data; only the rates of ``tasks``, if known."""
    names = {
        "rows": "impressions",
        "users": "users",
        "items": "items",
        "videos": "videos",
        "authors": "authors",
    }
    facts = [(names[key], count(data[key]), "") for key in names if isinstance(data.get(key), int)]
    if data.get("days"):
        facts.append(("days", days(data["days"]), ""))
    for part in ("train", "test"):
        if data.get(part):
            when = data[part].get("days")
            facts.append((part, count(data[part].get("rows")), days(when) if when else ""))
    if data.get("repeats_dropped") is not None:
        facts.append(("repeats dropped", count(data["repeats_dropped"]), ""))
    rates = data.get("rates") or {}
    shown = [name for name in rates if name in tasks] or list(rates)
    return facts + [(f"{name} rate", percent(rates[name]), "") for name in shown]


def _tables(metrics: Json) -> list[tuple[str, Json]]:
    """List tables by rows, the largest first, then all together."""
    tables = metrics.get("tables") or {}
    ordered = sorted(tables.items(), key=lambda item: -item[1].get("rows", 0))
    if len(tables) > 1:
        total = {key: sum(table.get(key) or 0 for table in tables.values()) for key in ("rows", "bytes")}
        ordered.insert(0, ("all tables", total))
    return ordered


def _settings(config: Json) -> list[tuple[str, str]]:
    """List settings, two levels deep by dotted name; what is nested deeper stands in one line."""
    rows: list[tuple[str, str]] = []
    for name, value in config.items():
        if isinstance(value, dict):
            rows += [(f"{name}.{key}", _line_of(part)) for key, part in value.items()]
        else:
            rows.append((name, _line_of(value)))
    return rows


def _line_of(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_line_of(part)}" for key, part in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
