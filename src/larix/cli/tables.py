"""`larix table`: what is in the tables of a run, and what tables will take. Knows how to ask and to print."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

app = typer.Typer(help="Look into the tables of a run, and plan their memory.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as train and demo leave it.")]
Name = Annotated[str, typer.Argument(metavar="TABLE", help="A table's name, as table info lists them.")]


@app.command()
def info(run: Folder) -> None:
    """List a run's tables: rows, dim, optimizer, bytes of weights and state.

    Example: [bold]larix table info runs/three[/]
    """
    from larix.recipes import open_tables

    tables = open_tables(run)
    shown = Table("table", "optimizer", box=SIMPLE_HEAD)
    for heading in ("rows", "dim", "bytes"):
        shown.add_column(heading, justify="right")
    for name, spec in tables.specs.items():
        rows = tables.rows(name)
        size = rows * spec.row_bytes
        shown.add_row(Text(name), type(spec.optimizer).__name__, f"{rows:,}", str(spec.dim), f"{size:,}")
    console = Console()
    console.print(shown)
    stats = tables.stats()
    console.print(f"{stats.rows:,} rows in {stats.bytes:,} bytes of memory, index and slabs included")


@app.command()
def get(
    run: Folder,
    table: Name,
    ids: Annotated[
        list[str],
        typer.Argument(metavar="ID...", help="Numbers, or text as in string columns. After -- if negative."),
    ],
) -> None:
    """Print the rows of some ids.

    Example: [bold]larix table get runs/three video 17 4242[/]
    """
    from larix.features import parse_id
    from larix.recipes import open_tables

    tables = open_tables(run)
    numbers = np.array([parse_id(word) for word in ids], np.int64)
    there = np.isin(numbers, tables.keys(table))
    weights, _ = tables.read(table, numbers)
    shown = Table("id", "weights", box=SIMPLE_HEAD)
    for word, known, row in zip(ids, there, weights, strict=True):
        shown.add_row(Text(word), " ".join(f"{weight:+.4f}" for weight in row) if known else "[dim]no row[/]")
    Console().print(shown)


@app.command()
def export(
    run: Folder,
    table: Name,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="PATH", help="The file to write; of safetensors a folder.")
    ],
    parquet: Annotated[
        bool,
        typer.Option("--parquet/--safetensors", help="One Parquet file, or files that larix loads, too."),
    ] = True,
) -> None:
    """Write a table to Parquet or safetensors: id, weights, optimizer state.

    Example: [bold]larix table export runs/three video --parquet -o video.parquet[/]
    """
    from larix.embedding import export_parquet, export_safetensors
    from larix.recipes import open_tables

    rows = (export_parquet if parquet else export_safetensors)(open_tables(run), table, out)
    Console(soft_wrap=True, markup=False).print(f"{rows:,} rows of table '{table}' in {out}")


@app.command()
def plan(
    tables: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]IDSxDIM...",
            help="Different ids and dim of each table, as video=20Mx32; k, M, G of 1000.",
        ),
    ],
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="SIZE", help="How many rows fit in so much, as 4GiB.")
    ] = None,
    optimizer: Annotated[
        str, typer.Option("--optimizer", metavar="NAME", help="The rows' optimizer, as Adam.")
    ] = "RowAdagrad",
    precision: Annotated[
        str, typer.Option("--precision", metavar="NAME", help="Of weights: fp32, bf16 or fp16.")
    ] = "fp32",
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="NAME", help="A table that nothing is evicted from; may be repeated."),
    ] = None,
    count: Annotated[
        int,
        typer.Option(
            "--admit-at", metavar="N", help="Admit ids at their N-th occurrence; adds the sketches."
        ),
    ] = 0,
) -> None:
    """Predict the memory of tables from ids, dims and optimizer: rows, optimizer state and index.

    Example: [bold]larix table plan user=50Mx16 video=20Mx32 --budget 4GiB[/]
    """
    from larix.embedding import budget as sizes
    from larix.embedding.plan import plan as planned
    from larix.embedding.plan import read_tables

    found = planned(
        read_tables(tables, optimizer=optimizer, precision=precision, keep=keep or [], admit_at=count), budget
    )
    shown = Table("table", box=SIMPLE_HEAD)
    for heading in ("ids", "dim", "bytes a row", "rows", "memory"):
        shown.add_column(heading, justify="right")
    for line in found.lines:
        numbers = (line.ids, line.spec.dim, sizes.row_bytes(line.spec), line.rows)
        shown.add_row(Text(line.spec.name), *(f"{number:,}" for number in numbers), sizes.shown(line.bytes))
    console = Console(highlight=False)
    console.print(shown)
    if found.sketches:
        console.print(f"admission sketches: {sizes.shown(found.sketches)}")
    ids = sum(line.ids for line in found.lines)
    console.print(f"{ids:,} ids need {sizes.shown(found.needed)} ({found.needed:,} bytes)")
    if found.budget is not None:
        rows = sum(line.rows for line in found.lines)
        share = f"{rows / ids:.1%} of the ids" if ids else "no ids"
        fits = "all fit" if rows == ids else f"{rows:,} rows fit, {share}"
        console.print(f"in {sizes.shown(found.budget)}: {fits}")
