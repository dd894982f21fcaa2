"""`larix showcase`: pages for people of a replayed feed before and after they act. Knows how to print."""

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from larix.errors import ConfigError

if TYPE_CHECKING:
    from larix.recipes.showcase import Visit

_LINES = 6  # of a page


def showcase(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that was replayed.")],
    stay: Annotated[
        bool, typer.Option("--serve", help="Go on serving until Ctrl-C: a page to click through.")
    ] = False,
    port: Annotated[int, typer.Option(metavar="PORT", help="For HTTP; 0 is any that is free.")] = 0,
    at: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The replay's folder. Default: RUN/replay.")
    ] = None,
) -> None:
    """Serve a replayed run while its trainer goes on: three people ask for a page, act, and come back.

    Everything is as in production: the server is asked over HTTP and follows the trainer's deltas; what people are shown and do
    goes to the event log, is joined to samples half an hour of event time later, and trained on.

    Example: [bold]larix showcase runs/three --serve --port 8080[/]
    """
    show_case(run, stay=stay, port=port, at=at)


def show_case(run: Path, *, stay: bool, port: int = 0, at: Path | None = None) -> None:
    """Let guests come and go, and say what changed for them and why."""
    try:
        from larix.recipes.served import Front
        from larix.recipes.showcase import showcase as entered
    except ImportError as error:
        raise ConfigError(f"serving needs {error.name}; pip install 'larix[serve,grpc]'") from error

    console = Console()
    with ExitStack() as stack:
        with console.status("making a bundle of the run, and a server of it"):
            shown = stack.enter_context(entered(run, at=at, front=Front(port=port)))
        console.print(summary(shown.visits(["watch", "like"])))
        if stay:
            wide = Console(soft_wrap=True, markup=False, highlight=False)
            wide.print(f"\nServing: {shown.url} (Ctrl-C ends it)")
            with suppress(KeyboardInterrupt):
                shown.stay()


def summary(visits: "list[Visit]") -> RenderableType:
    """The pages of guests, what they did, and what became of it."""
    parts: list[RenderableType] = []
    for visit in visits:
        was, stamp = _by_item(visit.before), visit.learned["stamp"]
        did = ", ".join(f"{act} {item}" for item, act in visit.acts.items())
        head = Text(f"\n{visit.title}", "bold").append(f": {did}", "not bold")
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
        for name in ("now", "was", "item", "worth", "was", "what moved it most"):
            justify = "left" if name == "what moved it most" else "right"
            table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for item in visit.learned["items"][:_LINES]:
            before = was.get(item["item"])
            place, worth, why = ("new", "–", "") if before is None else _told(item, before)
            style = "bold" if item["item"] in visit.acts else ""
            table.add_row(
                str(item["position"] + 1),
                place,
                Text(str(item["item"]), style),
                f"{item['value']:.3f}",
                worth,
                why,
            )
        tail = Text(
            f"once it was in the history: {_moved(visit.before, visit.after)}; once it was learned from: "
            f"{_moved(visit.after, visit.learned)} (rows {visit.before['stamp']['rows']} to {stamp['rows']})",
            "dim",
        )
        parts += [head, table, tail]
    return Group(*parts)


def _told(now: dict[str, Any], before: dict[str, Any]) -> tuple[str, str, str]:
    """Where it was, what it was worth, and the task whose share in that changed most."""
    tasks = now["why"]["tasks"]
    change = {task: tasks[task]["share"] - told["share"] for task, told in before["why"]["tasks"].items()}
    most = max(change, key=lambda task: abs(change[task]))
    was, now_is = before["why"]["tasks"][most]["prediction"], tasks[most]["prediction"]
    return str(before["position"] + 1), f"{before['value']:.3f}", f"{most} {was:.3f} to {now_is:.3f}"


def _moved(one: dict[str, Any], other: dict[str, Any]) -> str:
    before, after = _by_item(one), _by_item(other)
    stayed = [item for item in after if item in before]
    moved = sum(after[item]["position"] != before[item]["position"] for item in stayed)
    return f"{len(after) - len(stayed)} of {len(after)} items are new, {moved} moved"


def _by_item(page: dict[str, Any]) -> dict[Any, dict[str, Any]]:
    return {item["item"]: item for item in page["items"]}
