"""`larix`: the commands brought together, and how mistakes are told. Knows no room but the errors.

Commands import rooms where they use them, so that ``--help`` answers at once.
"""

import inspect
import os
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from larix.cli import bundles, compile, join, log, online, replay, runs, samples, serve, showcase, tables
from larix.errors import LarixError


class _Commands(TyperGroup):
    """All commands. A user's mistake is one line on standard error and exit code 2; Ctrl-C is exit code 130."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command asked for."""
        try:
            return super().invoke(ctx)
        except LarixError as error:
            _say("[red]larix:[/]", str(error))
            raise typer.Exit(2) from error
        except KeyboardInterrupt as stop:
            _say("larix:", str(stop) or "stopped")
            raise typer.Exit(130) from stop


def _say(who: str, what: str) -> None:
    words = escape(" ".join(what.split()))
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"{who} {words}")


app = typer.Typer(
    cls=_Commands,
    help="Train and look into ranking models whose memory is billions of ids.\n\n"
    "Start with [bold]larix demo[/]: it trains a multi-task ranker on a feed log and leaves a report to open in a "
    "browser. Then [bold]larix COMMAND --help[/] shows each command with an example.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(runs.demo)
app.command("train")(runs.train)
app.command("eval")(runs.evaluate)
app.command("predict")(runs.predict)
app.command("join")(join.join)
app.command("online")(online.online)
app.command("replay")(replay.replay)
app.command("showcase")(showcase.showcase)
app.command("compile")(compile.compile)
app.command("export")(bundles.export)
app.command("check")(bundles.check)
app.command("serve")(serve.serve)
app.add_typer(tables.app, name="table")
app.add_typer(samples.app, name="data")
app.add_typer(log.app, name="log")


def flowing(command: Any) -> Any:
    """``command`` with the lines of each paragraph of its help joined, and of the commands below it: a terminal breaks them."""
    if command.help:
        paragraphs = inspect.cleandoc(command.help).split("\n\n")
        command.help = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    for below in getattr(command, "commands", {}).values():
        flowing(below)
    return command


def main() -> Any:
    """Run the command line."""
    # OpenMP reads it when torch is first imported. By default its threads spin for long between two kernels, and take the
    # cores from reading, lookups and other processes; a short spin costs nothing on an idle machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    return flowing(typer.main.get_command(app))(prog_name="larix")
