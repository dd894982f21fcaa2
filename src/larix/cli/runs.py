"""`larix demo`, `train`, `eval`, `predict`: recipes carried out and runs put to use. Knows how to ask and to print."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from larix.cli.replay import show_replay, speed_of
from larix.cli.showcase import show_case
from larix.errors import ConfigError

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as train and demo leave it.")]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="A folder of KuaiRand's files. Default: shared/data/kuairand_pure in or beside this folder or one above; "
        "where there is none, a synthetic feed.",
    ),
]
Words = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the recipe, such as epochs=2; repeatable. A KEY that it does not have, such as help=, lists "
        "those it has, with their defaults.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="The run folder to make. Default: runs/NAME-TIME."),
]


def demo(
    data: Data = None,
    words: Words = None,
    out: Out = None,
    speed: Annotated[
        str, typer.Option(metavar="N", help="Of the replay: times as fast as it happened, or max.")
    ] = "3600",
    stay: Annotated[
        bool, typer.Option("--serve", help="Go on serving at the end: a page to click through.")
    ] = False,
) -> None:
    """Train the multi-task ranker on a feed log, replay the log's last four days as events that it learns from, and serve it.

    First it is trained to the fourth last day and tested on the last two. Then the days after training are sent through the
    event log, the join, online training and a follower in another process, live, the online model beside the frozen one. The
    report has both. At the end the online model is served, and three people ask for pages, act, and see what changed. The first
    line says which data it is. The same as [bold]larix train kuairand --set gap=2[/], [bold]larix replay[/] and
    [bold]larix showcase[/].

    Example: [bold]larix demo --data ../shared/data/kuairand_pure[/]
    """
    folder, pace = out or _fresh("demo"), speed_of(speed)
    _train("kuairand", data, ["gap=2", *(words or [])], folder, resume=False, more=False)
    show_replay(folder, speed=pace)
    show_case(folder, stay=stay)
    _next(folder)


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A built-in recipe (kuairand), or your own: path/to/file.py:function."
        ),
    ],
    data: Data = None,
    words: Words = None,
    out: Out = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on from the newest version in --out, with the settings it was begun with."
        ),
    ] = False,
) -> None:
    """Train a recipe: a Python function that returns what to train on what.

    It leaves a run folder: config.json, metrics.json, versions/, report.html.

    Ctrl-C finishes the step, saves, and says how to go on.

    Example: [bold]larix train kuairand --set epochs=1 --set seed=3 --out runs/three[/]

    Your own: [bold]larix train my_recipe.py:small --out runs/small[/]
    """
    if resume and out is None:
        raise ConfigError("--resume goes on with the run in --out; say which: --out RUN")
    name = recipe.partition(":")[0]
    _train(recipe, data, words, out or _fresh(Path(name).stem), resume=resume)


def evaluate(
    run: Folder,
    data: Data = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="First day, as 2022-05-05.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last day, included.")] = None,
) -> None:
    """Measure a run on the days it was tested on, or on others after those it was trained on.

    With --data, --from or --to: on all days after training, or those asked for. Nothing in the run folder changes.

    Example: [bold]larix eval runs/three --from 2022-05-06 --to 2022-05-06[/]
    """
    from larix.recipes import measured, open_feed, open_run
    from larix.train.summary import summary

    console = Console()
    opened, _ = open_run(run)
    console.print(f"Run: {run}", markup=False, highlight=False, soft_wrap=True)
    feed = open_feed(run, console, data=data, first=first, last=last)
    console.print()
    console.print(summary({**measured(opened, feed), **feed.about}))


def predict(
    files: Annotated[
        str,
        typer.Argument(metavar="FILE", help="Samples as trained on: a file, a folder or a quoted pattern."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The Parquet file to write.")],
    run: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The run to predict with. Default: the newest below runs/."),
    ] = None,
) -> None:
    """Predict every task for every sample of FILE, in its order: probabilities, and seconds for times.

    Labels need not be there. Of a KuaiRand log, [bold]larix data prepare[/] makes samples.

    Example: [bold]larix predict samples/2022-05-06.parquet -o scores.parquet --run runs/three[/]
    """
    from larix import data
    from larix.recipes import newest_run, open_run

    folder = run or newest_run(Path("runs"))
    opened, _ = open_run(folder)
    rows = opened.predict_to(data.files(files), out)
    Console(soft_wrap=True, markup=False).print(f"{rows:,} predictions by {folder} in {out}")


def _train(
    name: str, data: Path | None, words: list[str] | None, folder: Path, *, resume: bool, more: bool = True
) -> None:
    from larix.recipes import carry_out
    from larix.train.summary import summary

    console = Console()
    run = carry_out(name, words or [], folder, console, data=data, resume=resume)
    console.print()
    console.print(summary(run.metrics))
    if more:
        wide = Console(soft_wrap=True, markup=False, highlight=False)
        wide.print(f"\nReport: {(folder / 'report.html').resolve().as_uri()}")
        _next(folder)


def _next(folder: Path) -> None:
    wide = Console(soft_wrap=True, markup=False, highlight=False)
    wide.print(f"Next:   larix eval {folder}\n        larix table info {folder}\n        larix --help")


def _fresh(name: str) -> Path:
    return Path("runs", f"{name}-{datetime.now():%Y-%m-%d-%H%M%S}")
