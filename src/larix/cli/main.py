"""`larix`: the commands brought together, and how mistakes are told. Knows no room but the errors.

Commands import rooms where they use them, so that ``--help`` answers at once.
"""

import os
import sys
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from larix.cli import runs, samples, tables
from larix.errors import LarixError

app = typer.Typer(
    help="Train and look into ranking models whose memory is billions of ids.\n\n"
    "Start with [bold]larix demo[/]: it trains a multi-task ranker on a feed log and leaves a report to open in a "
    "browser.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(runs.demo)
app.command("train")(runs.train)
app.command("eval")(runs.evaluate)
app.command("predict")(runs.predict)
app.add_typer(tables.app, name="table")
app.add_typer(samples.app, name="data")


def main() -> Any:
    """Run the command line. A user's mistake: one line on standard error and exit code 2; Ctrl-C: exit code 130."""
    # OpenMP reads it when torch is first imported. By default its threads spin for long between two kernels, and take the
    # cores from reading, lookups and other processes; a short spin costs nothing on an idle machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        return app()
    except LarixError as error:
        _say("[red]larix:[/]", error)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        _say("larix:", stop)
        sys.exit(130)


def _say(who: str, what: BaseException) -> None:
    words = escape(" ".join(str(what).split())) or "stopped"
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"{who} {words}")
