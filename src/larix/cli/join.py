"""`larix join`: topics of impressions and actions into a topic of samples. Knows how to ask and to print."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from larix.cli.log import Where, interruptible, opened

if TYPE_CHECKING:
    from larix.data.log import Column


def join(
    log: Where,
    spec: Annotated[Path, typer.Option(help="A JSON file: JoinSpec.to_json().")],
    out: Annotated[str, typer.Option(help="The topic of samples; made if it is not there.")],
    state: Annotated[Path, typer.Option(help="A folder for the join's state: it goes on from there.")],
    columns: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A JSON file that says by topic what events are, such as "
            '{"shows": {"show_id": "int64", "tags": "list<string>", "rank": {"type": "int64", "default": 0}}}. Those that '
            "are something else go to TOPIC.dead, others' columns are passed over. Default: whatever comes.",
        ),
    ] = None,
    every: Annotated[
        float, typer.Option(help="Seconds between two saves, each with its samples.", min=0.0)
    ] = 1.0,
    end: Annotated[
        bool, typer.Option("--end", help="The input is complete: join what is there, and stop.")
    ] = False,
) -> None:
    """Join topics of events into a topic of samples, each once, until Ctrl-C.

    Example: [bold]larix join events --spec spec.json --out samples --state join[/]

    Where others append to the log: [bold]larix join events --spec spec.json --columns columns.json --out samples --state join[/]
    """
    from larix.data.join import JoinSpec, Topics
    from larix.errors import ConfigError

    try:
        declared = JoinSpec.from_json(json.loads(spec.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"'{spec}' is no join's declaration: {error}; write JoinSpec.to_json() there"
        ) from error
    wanted = None if columns is None else _columns(columns)
    with opened(log) as events, interruptible() as stop:
        topics = Topics(log=events, spec=declared, out=out, folder=state, every_s=every, columns=wanted)
        stats, dead = topics.run(end=end, stop=stop.is_set)
    names = ("accepted", "null", "future", "late", "duplicate", "orphans")
    shown = Table("kind", box=SIMPLE_HEAD)
    for name in names:
        shown.add_column(name, justify="right")
    for kind, fate in stats.kinds.items():
        shown.add_row(kind, *(f"{getattr(fate, name):,}" for name in names))
    Console().print(shown)
    typer.echo(f"{stats.samples:,} samples and {stats.corrections:,} corrections so far")
    for reason, count in dead.most_common():
        typer.echo(f"{count:,} events went to dead letters: {reason}")


def _columns(path: Path) -> "dict[str, list[Column]]":
    from larix.data.log import Column
    from larix.errors import ConfigError

    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return {topic: [Column.from_json(*each) for each in some.items()] for topic, some in said.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"'{path}' tells no columns by topic: {error}; see larix join --help") from error
