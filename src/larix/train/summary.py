"""What a run came to, for a terminal: a few lines and a table. Knows what ``write_report`` says and rich."""

from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from larix.train.compare import Json, compare
from larix.train.wording import count, days, delta, metric, percent, size, span

_ANY = 10_000  # columns, more than any line
_METRICS = {"auc": "AUC", "gauc": "GAUC", "logloss": "logloss"}


def summary(metrics: Json) -> Group:
    """Return what to print at the end of a run with this metrics.json; what it lacks is left out."""
    results = compare(metrics)
    binary = [result for result in results if result["kind"] == "binary"]
    regression = [result for result in results if result["kind"] == "regression"]
    parts: list[RenderableType] = [line for line in (_data(metrics), _training(metrics)) if line]
    if binary:
        table = _ranking(binary, bool(metrics.get("references")), bool(metrics.get("truth")))
        parts.append(_Fitting(table, Group(*(_line(result) for result in binary))))
    parts += [_seconds(result) for result in regression]
    if not results:
        parts.append(Text("No test figures.", style="yellow"))
    return Group(*parts)


def _data(metrics: Json) -> Text | None:
    data = metrics.get("data") or {}
    if not data:
        return None
    line = Text.assemble((str(data.get("name", "data")), "bold"))
    if "synthetic" in data:
        line.append(
            " (synthetic)" if data["synthetic"] else " (real data)", "yellow" if data["synthetic"] else "cyan"
        )
    for part in ("train", "test"):
        if data.get(part):
            when = f" of {days(data[part]['days'])}" if data[part].get("days") else ""
            line.append(f"\n{part} {count(data[part].get('rows'))} impressions{when}", "dim")
    return line


def _training(metrics: Json) -> Text | None:
    steps = metrics.get("steps") or []
    if not steps:
        return None
    last = steps[-1]
    words = [f"{count(last.get('samples'))} samples in {span(last.get('seconds'))}"]
    if last.get("seconds"):
        words.append(f"{count(last['samples'] / last['seconds'])} samples/s")
    tables = (metrics.get("tables") or {}).values()
    if tables:
        rows, held = (sum(table.get(key, 0) for table in tables) for key in ("rows", "bytes"))
        words.append(f"{count(rows)} rows in {len(tables)} tables, {size(held)}")
    state = metrics.get("state", "finished")
    line = Text(", ".join(words), "dim")
    return (
        line
        if state == "finished"
        else line.append(f"\n{state} after step {count(last.get('step'))}", "bold yellow")
    )


class _Fitting:
    """The first where it has the room it needs, else the second: a number cut short says nothing."""

    def __init__(self, wide: RenderableType, narrow: RenderableType) -> None:
        self._wide = wide
        self._narrow = narrow

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        needed = Measurement.get(console, options.update(max_width=_ANY), self._wide).maximum
        yield self._wide if needed <= options.max_width else self._narrow


def _line(result: dict[str, Any]) -> Text:
    told = ", ".join(f"{title} {metric(result.get(key))}" for key, title in _METRICS.items())
    return Text.assemble(
        (result["name"], "bold"), f": {told}, calibration {metric(result.get('calibration'), 3)}"
    )


def _ranking(results: list[dict[str, Any]], references: bool, truth: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")  # fits 80 columns
    table.add_column("task", no_wrap=True)
    for title in _METRICS.values():
        table.add_column(title, justify="right", no_wrap=True)
        if references:
            table.add_column("to best", justify="right", no_wrap=True)
    table.add_column("calibr.", justify="right", no_wrap=True)
    if truth:
        table.add_column("true AUC", justify="right", no_wrap=True)
        table.add_column("learned", justify="right", no_wrap=True)
    for result in results:
        row: list[RenderableType] = [str(result["name"])]
        for key in _METRICS:
            row.append(Text(metric(result.get(key)), "bold"))
            if references:
                best = result["best"].get(key)
                style = "green" if best and best["better"] else "red"
                row.append(Text(delta(best["delta"]), style) if best else "")
        row.append(metric(result.get("calibration"), 3))
        if truth:
            row += [metric(result["truth"].get("auc")), percent(result["way"])]
        table.add_row(*row)
    return table


def _seconds(result: dict[str, Any]) -> Text:
    return Text.assemble(
        f"{result['name']}: ",
        (f"XAUC {metric(result.get('xauc'))}", "bold"),
        f", off by {metric(result.get('mae'), 1)} s on average (RMSE {metric(result.get('rmse'), 1)} s)",
        f", mean {metric(result.get('predicted'), 1)} s for {metric(result.get('observed'), 1)} s observed",
    )
