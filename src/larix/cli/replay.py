"""`larix replay`: a dated log pushed through the whole online loop, and what there is to see meanwhile. Knows how to print."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from larix.errors import ConfigError

if TYPE_CHECKING:
    from larix.recipes.replay import Standing

_LINE_S = 10.0  # between two lines where there is no terminal


def replay(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as train and demo leave it.")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The log's folder. Default: what the run was trained on."),
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="First day. Default: the one after training.")
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--to", metavar="DAY", help="Last day, included. Default: the last of the test."),
    ] = None,
    speed: Annotated[
        str,
        typer.Option(
            metavar="N", help="How many times as fast as it happened; max: as fast as it is learned from."
        ),
    ] = "3600",
    partitions: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Of the topics of events, keyed by user. Default: 1."),
    ] = None,
    at: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The replay's folder. Default: RUN/replay.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a replay was stopped or killed.")
    ] = False,
) -> None:
    """Replay the days after a run's training as events: log, join, online training, and a follower that answers.

    Its trainer goes on from the run, tests each sample before it learns from it, and publishes what changed; the follower, in a
    process of its own, answers every impression. The run's report.html gets the curves: the online model beside the frozen one.

    Ctrl-C saves and says how to go on.

    Example: [bold]larix replay runs/three --speed max[/]
    """
    pace = speed_of(speed)
    show_replay(
        run, data=data, first=first, last=last, speed=pace, partitions=partitions, at=at, resume=resume
    )


def show_replay(run: Path, **told: Any) -> None:
    """Replay with a dashboard, then say what it came to."""
    from larix.recipes.replay import replay as carried_out

    console = Console()
    with _dashboard(console) as watch:
        found = carried_out(run, console, watch=watch, **told)
    console.print(summary(found))
    wide = Console(soft_wrap=True, markup=False, highlight=False)
    wide.print(f"\nReport: {(run / 'report.html').resolve().as_uri()}")


def speed_of(word: str) -> float | None:
    """The speed that a word says; None for ``max``."""
    if word == "max":
        return None
    try:
        return float(word)
    except ValueError:
        raise ConfigError(f"--speed {word} is neither a number, such as 3600, nor max") from None


def dashboard(standing: "Standing") -> RenderableType:
    """What is shown while it goes on."""
    from larix.train.wording import count, metric

    now = datetime.fromtimestamp(standing.event_ms / 1000, UTC) if standing.event_ms else None
    facts, fresh = Table.grid(padding=(0, 3)), standing.freshness
    facts.add_row(
        _fact("event time", f"{now:%d %b %H:%M}" if now else "–"),
        _fact("events/s", count(standing.events_per_s)),
        _fact("samples/s", count(standing.samples_per_s)),
        _fact("lag", count(standing.lag)),
    )
    facts.add_row(
        _fact("fresh p50", _seconds(fresh.get("p50_s"))),
        _fact("p99", _seconds(fresh.get("p99_s"))),
        _fact("deltas", count(standing.published)),
        _fact("answers", count(standing.answers)),
    )
    parts: list[RenderableType] = [facts]
    online, frozen = (standing.scores.get(name, {}) for name in ("online", "frozen"))
    if online:
        table = Table(box=SIMPLE_HEAD, header_style="dim", padding=(0, 1))
        table.add_column(f"{count(standing.samples)} samples", no_wrap=True)
        for name in ("AUC frozen", "online", "GAUC frozen", "online", "calibr."):
            table.add_column(name, justify="right", no_wrap=True)
        for task, figures in online.items():
            if figures["kind"] == "binary":
                cells = [
                    text
                    for key in ("auc", "gauc")
                    for text in (
                        Text(metric(frozen[task].get(key))),
                        _better(figures.get(key), frozen[task].get(key)),
                    )
                ]
                table.add_row(task, *cells, metric(figures.get("calibration"), 3))
        parts.append(table)
    said = [
        standing.held,
        *standing.alarms[-2:],
        f"parts begun again: {standing.restarts}" if standing.restarts else "",
    ]
    parts += [Text(text, style="yellow") for text in said if text]
    return Group(*parts)


def summary(found: dict[str, Any]) -> RenderableType:
    """What it came to: the days measured, task by task."""
    from larix.train.wording import count, days, metric

    total, fresh, speed = found["total"], found["freshness"], found["speed"]
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    trees = ["trees"] if found["references"] else []
    for name in ("task", "AUC", "frozen", *trees, "GAUC", "frozen", *trees, "calibr."):
        table.add_column(name, justify="left" if name == "task" else "right", no_wrap=True)
    for task, online in total.get("online", {}).items():
        if online["kind"] == "binary":
            frozen = total["frozen"][task]
            cells: list[RenderableType] = [task]
            for key in ("auc", "gauc"):
                cells += [_better(online.get(key), frozen.get(key)), metric(frozen.get(key))]
                if trees:
                    best = [each[task][key] for each in found["references"].values() if task in each]
                    cells.append(metric(max(best, default=None)))
            table.add_row(*cells, metric(online.get("calibration"), 3))
    head = Text(f"\nReplayed {days(found['days'])}", "bold")
    pace = "as fast as it was learned from" if speed is None else f"{speed:g} times as fast as it happened"
    head.append(f": {count(found['events'])} events, {pace}; measured {days(found['measured'])}", "not bold")
    tail = Text(
        f"{count(total['samples'])} samples, each tested before it was learned from, "
        f"{count(found['new_items']['samples'])} of items first shown in the replay; "
        f"from an action to an answer that learned from it {_seconds(fresh['p50_s'])} (p99 {_seconds(fresh['p99_s'])}), "
        + ("most of it in a queue kept full, " if speed is None else "")
        + f"the join's window of {count(found['window_s'])} s of event time left out",
        "dim",
    )
    return Group(head, table, tail)


@contextmanager
def _dashboard(console: Console) -> Iterator[Callable[["Standing"], None]]:
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            yield lambda standing: live.update(dashboard(standing))
        return
    last = [0.0]

    def line(standing: "Standing") -> None:
        from time import monotonic

        if monotonic() - last[0] >= _LINE_S:
            last[0] = monotonic()
            console.print(
                f"{standing.events:,} events sent, {standing.samples:,} samples learned", highlight=False
            )

    yield line


def _fact(name: str, value: str) -> Text:
    return Text.assemble((f"{name} ", "dim"), (value, "bold"))


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _better(ours: float | None, theirs: float | None) -> Text:
    from larix.train.wording import metric

    style = "" if ours is None or theirs is None else "green" if ours > theirs else "red"
    return Text(metric(ours), style)
