"""`larix data`: samples made, converted and looked at. Knows how to ask and to print."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from larix.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

app = typer.Typer(help="Make samples: convert, prepare, simulate, look.", no_args_is_help=True)


@app.command()
def convert(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="TFRecord (tf.train.Example), CSV or JSON lines.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="PATH", help="The Parquet file to write.")],
    kind: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="tfrecord, csv or json, where the names do not tell."),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="COLUMN=TYPE",
            help="A column's type, such as zip=string, instead of the one found: int64, double, bool and others by "
            "Arrow's names; repeatable.",
        ),
    ] = None,
) -> None:
    """Convert row files to one Parquet file, streaming: memory stays small however large they are.

    The kind is told by the name: .tfrecord anywhere in it, .csv, .tsv, .jsonl, .ndjson, .json; each also with .gz.

    Example: [bold]larix data convert logs/part-*.tfrecord -o logs.parquet[/]

    Example: [bold]larix data convert orders.txt --kind csv --type zip=string -o orders.parquet[/]
    """
    from larix import data

    console = Console(soft_wrap=True, markup=False)
    columns = ("converting", BarColumn(), TaskProgressColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        rows = data.convert(
            files,
            out,
            kind=kind,  # type: ignore[arg-type]  # checked there
            types=dict(map(_typed, types or ())),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(f"{rows:,} rows in {out}")


def _typed(word: str) -> "tuple[str, pa.DataType]":
    import pyarrow as pa

    name, equals, kind = word.rpartition("=")
    try:
        found: pa.DataType = pa.type_for_alias(kind)
    except ValueError:
        found = None
    if not (name and equals) or found is None:
        raise ConfigError(f"--type {word} is not COLUMN=TYPE with a type of Arrow's, such as zip=string")
    return name, found


@app.command()
def prepare(
    folder: Annotated[
        Path, typer.Argument(help="A folder of KuaiRand's files, CSV as published or Parquet.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="PATH", help="The folder to make, one Parquet file a day.")
    ],
) -> None:
    """Make samples of a KuaiRand log: repeats dropped, users and videos joined, strictly-past histories built.

    Example: [bold]larix data prepare ../shared/data/kuairand_pure -o samples[/]
    """
    from larix.data import kuairand

    console = Console(soft_wrap=True, markup=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("building histories", total=None)
        source = kuairand.prepare(
            folder, out, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    dropped = kuairand.card(out)["repeats_dropped"]
    console.print(
        f"{source.rows:,} samples in {len(source.paths)} files, one a day, in {out}; repeats dropped: {dropped:,}"
    )


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="PATH", help="The folder to make.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    users: Annotated[int, typer.Option(help="How many users.")] = 6000,
    days: Annotated[int, typer.Option(help="Days of the log.")] = 12,
    impressions: Annotated[int, typer.Option(help="Expected rows of the log.")] = 180_000,
) -> None:
    """Simulate a feed in KuaiRand's files, the labels' true probabilities beside them.

    Example: [bold]larix data simulate -o feed --users 1000 --impressions 30000[/]
    """
    from larix.data import synthetic

    console = Console(soft_wrap=True, markup=False)
    with console.status("simulating users, videos and what they do"):
        synthetic.write(out, seed=seed, users=users, days=days, impressions=impressions)
    console.print(f"A synthetic feed is in {out}; train on it: larix demo --data {out}")


@app.command()
def info(
    files: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A file, a folder or a quoted pattern: Parquet, Arrow or CSV."),
    ],
) -> None:
    """Say what files of columns hold: rows, columns, types.

    Example: [bold]larix data info 'logs/2022-05-*.parquet'[/]
    """
    from larix import data

    source = data.files(files)
    shown = Table("column", "type", box=SIMPLE_HEAD)
    for field in source.schema:
        shown.add_row(Text(field.name), Text(str(field.type)))
    console = Console()
    console.print(shown)
    console.print(f"{source.rows:,} rows in {len(source.paths)} file{'s' * (len(source.paths) > 1)}")
