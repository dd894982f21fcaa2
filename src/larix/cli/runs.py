"""`larix demo`, `train`, `eval`, `predict`: recipes carried out and runs put to use. Knows how to ask and to print."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as train and demo leave it.")]
Data = Annotated[
    Path | None,
    typer.Option(
        help="A folder of KuaiRand files. Without it: the slice beside the checkout, else a synthetic feed."
    ),
]
Words = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the recipe, such as epochs=2; repeatable."),
]
Out = Annotated[
    Path | None, typer.Option(help="The run folder to make. Default: one of its own below runs/.")
]


def demo(data: Data = None, words: Words = None, out: Out = None) -> None:
    """Train the multi-task ranker on a feed log, test it on the days after, and write a report.

    Example: [bold]larix demo --data ../shared/data/kuairand_pure[/]
    """
    _train("kuairand", data, words, out or _fresh("demo"), resume=False)


def train(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe (kuairand), or path/to/file.py:function.")],
    data: Data = None,
    words: Words = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest version in --out.")] = False,
) -> None:
    """Train a recipe: a Python function that returns what to train on what.

    Example: [bold]larix train kuairand --set epochs=1 --set seed=3 --out runs/three[/]
    """
    _train(recipe, data, words, out or _fresh(Path(recipe.partition(":")[0]).stem), resume=resume)


def evaluate(
    run: Folder,
    data: Data = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="First day, as 2022-05-05.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last day, included.")] = None,
) -> None:
    """Measure a run on the days it was tested on, or on others.

    Example: [bold]larix eval runs/demo --from 2022-05-06 --to 2022-05-06[/]
    """
    from larix.recipes import find_recipe, open_run
    from larix.train.summary import summary

    opened, told = open_run(run)
    asked = {"data": data and str(data), "test_from": first, "test_to": last}
    recipe = find_recipe(told["recipe"])
    console = Console()
    feed = recipe(
        **told["arguments"] | {key: value for key, value in asked.items() if value is not None}
    ).feed(run.parent / "samples", console)
    console.print(summary({"test": opened.evaluate(feed.test), **feed.about}))


def predict(
    files: Annotated[str, typer.Argument(metavar="FILE", help="Samples: a file, a folder or a pattern.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The Parquet file to write.")],
    run: Annotated[
        Path | None, typer.Option(help="The run to predict with. Default: the newest below runs/.")
    ] = None,
) -> None:
    """Predict every task for every sample of FILE, in its order.

    Example: [bold]larix predict runs/samples/kuairand_pure-ready/2022-05-06.parquet -o scores.parquet[/]
    """
    from larix import data
    from larix.recipes import newest_run, open_run

    folder = run or newest_run(Path("runs"))
    opened, _ = open_run(folder)
    rows = opened.predict_to(data.files(files), out)
    Console(soft_wrap=True).print(f"{rows:,} predictions by {folder} in {out}")


def _train(name: str, data: Path | None, words: list[str] | None, folder: Path, *, resume: bool) -> None:
    from larix.recipes import carry_out
    from larix.train.summary import summary

    console = Console()
    run = carry_out(
        name, [*(words or []), *([f"data={data}"] if data else [])], folder, console, resume=resume
    )
    console.print(summary(run.metrics))
    wide = Console(soft_wrap=True)
    wide.print(f"\nReport: [bold]{(folder / 'report.html').resolve().as_uri()}[/]")
    wide.print(f"Next:   larix table info {folder}    larix eval {folder}    larix --help")


def _fresh(name: str) -> Path:
    return Path("runs", f"{name}-{datetime.now():%Y-%m-%d-%H%M%S}")
