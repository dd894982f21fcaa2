"""`larix log`: what is in an event log, as it comes, and events from files into it. Knows how to ask and to print."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pyarrow as pa

    from larix.data.log import EventLog, Offsets

app = typer.Typer(help="Look into an event log, and append to it.", no_args_is_help=True)

_ROWS = 1000  # of an append

Where = Annotated[str, typer.Argument(metavar="LOG", help="A log's folder, or kafka://HOST:PORT.")]
Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="A topic's name, as log ls lists them.")]


@app.command("ls")
def list_topics(log: Where) -> None:
    """List a log's topics and partitions, with the first offset that is still there and the one after the last.

    Example: [bold]larix log ls events[/]
    """
    with opened(log) as events:
        shown = Table("topic", box=SIMPLE_HEAD)
        for heading in ("partition", "oldest", "newest"):
            shown.add_column(heading, justify="right")
        for name in events.topics():
            oldest, newest = events.oldest(name).next, events.newest(name).next
            for partition in sorted(newest):
                shown.add_row(Text(name), str(partition), f"{oldest[partition]:,}", f"{newest[partition]:,}")
        Console().print(shown)


@app.command()
def tail(
    log: Where,
    topic: Topic,
    last: Annotated[
        int, typer.Option("-n", "--last", help="Begin so many offsets before each end.", min=0)
    ] = 10,
    since: Annotated[
        datetime | None, typer.Option("--since", help="Begin with what was appended then, in local time.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on as events come, until Ctrl-C.")
    ] = False,
) -> None:
    """Print a topic's last events, one JSON object a line.

    Example: [bold]larix log tail events clicks -n 3 -f[/]
    """
    with opened(log) as events:
        if since is not None:
            start = events.at_time(topic, int(since.timestamp() * 1000))
        else:
            start = _before_the_end(events, topic, last)
        with events.consumer(topic, start=start, skip_lost=True) as consumer:
            for got in consumer.drain():
                _print(got.rows)
            with interruptible() as stopped:
                while follow and not stopped.is_set():
                    for got in consumer.poll(0.2):
                        _print(got.rows)
            if follow:
                raise KeyboardInterrupt


@app.command()
def append(
    log: Where,
    topic: Topic,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Parquet, Arrow, CSV or TSV files, or folders of them."),
    ],
    partition: Annotated[int, typer.Option(help="Which partition to append to.", min=0)] = 0,
) -> None:
    """Append the rows of files, in order. A topic that is not there is made, with as many partitions as that needs.

    Example: [bold]larix log append events clicks clicks.parquet[/]
    """
    from larix.data import files as find

    source = find([str(each) for each in files])
    with opened(log, make=True) as events:
        if topic not in events.topics():
            events.create(topic, partitions=partition + 1)
        rows = 0
        with source.stream(batch_size=_ROWS) as stream:
            for batch in stream:
                events.send(topic, batch, partition=partition)
                rows += len(batch)
        events.flush()
    Console().print(f"{rows:,} events appended to partition {partition} of topic '{topic}'", soft_wrap=True)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Set by Ctrl-C. As an exception it may come where Python can only drop it, and whoever follows goes on for ever."""
    stopped = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


def opened(where: str, *, make: bool = False) -> "EventLog":
    """The log at a folder or in Kafka; ConfigError if there is none and it is not to be made."""
    from larix.data.log import log_at

    return log_at(where, make=make)


def _before_the_end(log: "EventLog", topic: str, last: int) -> "Offsets":
    from larix.data.log import Offsets

    oldest, newest = log.oldest(topic).next, log.newest(topic).next
    begin = {partition: max(oldest[partition], end - last) for partition, end in newest.items()}
    return Offsets(log=log.id, topic=topic, next=begin)


def _print(rows: "pa.RecordBatch") -> None:
    columns = [_values(column) for column in rows.columns]
    for row in zip(*columns, strict=True):
        typer.echo(
            json.dumps(dict(zip(rows.schema.names, row, strict=True)), default=str, ensure_ascii=False)
        )


def _values(column: "pa.Array") -> list[object]:
    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):  # a time that Python has no word for
        return [f"{column.type} out of range" if known else None for known in column.is_valid().to_pylist()]
