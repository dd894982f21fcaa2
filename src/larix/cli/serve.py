"""`larix serve`: bundles and runs answered for over HTTP and gRPC. Knows how to ask and to print."""

import signal
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from larix.cli.log import opened
from larix.embedding import Levels
from larix.errors import ConfigError


def serve(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLE...",
            help="Bundles, folders that new ones come to, or runs, which are exported first. NAME=PATH gives a model its name.",
        ),
    ],
    host: Annotated[
        str,
        typer.Option(metavar="HOST", help="Where to listen. Other than loopback needs tokens and TLS."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", help="For HTTP; 0 is any that is free.")] = 8080,
    grpc_port: Annotated[
        int | None, typer.Option("--grpc-port", metavar="PORT", help="For gRPC, which is off by default.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="Bearer tokens that are let in, one a line."),
    ] = None,
    cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="A certificate, as PEM.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="Its key, as PEM.")] = None,
    follow: Annotated[
        str | None,
        typer.Option(
            metavar="LOG",
            help="A log's folder, or kafka://HOST:PORT: runs among BUNDLE... are kept as new as what they publish there.",
        ),
    ] = None,
    deltas: Annotated[
        str, typer.Option(metavar="TOPIC", help="The topic that online training publishes to.")
    ] = "deltas",
    feedback: Annotated[
        str | None,
        typer.Option(metavar="LOG", help="Append what /v1/feedback takes to this log; off by default."),
    ] = None,
    actions: Annotated[
        str, typer.Option(metavar="TOPIC", help="The topic of actions, whose events tell the columns.")
    ] = "actions",
    keyed: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Where that topic has several partitions: the column of actions, such as the user's, that says which.",
        ),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--values",
            metavar="MODEL=FILE",
            help="Take a model's value model from this file, whenever it changes; repeatable.",
        ),
    ] = None,
    timeout_ms: Annotated[
        float, typer.Option("--timeout-ms", metavar="MS", help="To answer in, if a client says nothing.")
    ] = 1000.0,
    log_calls: Annotated[
        bool,
        typer.Option(
            "--log-calls", help="Every call is a line of JSON on standard error; faults always are."
        ),
    ] = False,
    traces: Annotated[
        bool, typer.Option("--traces", help="Send spans by OpenTelemetry, as its OTEL_* variables say.")
    ] = False,
    streams: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Requests that a process computes at a time, a core each; 0: all cores, or 1 with --processes.",
        ),
    ] = 0,
    processes: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Worker processes that answer, from the same rows, as many as cores to answer the most; 0: this one alone.",
        ),
    ] = 0,
    hot_rows: Annotated[
        str | None,
        typer.Option(
            "--hot-rows",
            metavar="SIZE",
            help="Hold the rows used most whole in memory, up to so much a model and process, such as 2GiB; all by default.",
        ),
    ] = None,
    cold_rows: Annotated[
        str,
        typer.Option(
            "--cold-rows", metavar="int8|disk", help="How the other rows are read, with --hot-rows."
        ),
    ] = "int8",
    rows_folder: Annotated[
        Path | None,
        typer.Option(
            "--rows-folder",
            metavar="DIR",
            help="Where their files go, with --hot-rows: on an SSD. By default with the system's temporary files.",
        ),
    ] = None,
) -> None:
    """Serve models: ranking in plain JSON, the Open Inference Protocol over HTTP and gRPC, and a page to click through at /.

    Ctrl-C, or SIGTERM, takes no more requests, answers what is under way, and ends.

    Example: [bold]larix serve bundles/three[/]

    A run that is trained on online: [bold]larix serve runs/three/online --follow events --feedback events[/]
    """
    from larix.recipes.acted import feedback_to
    from larix.recipes.apart import back_of, listening_apart, work_of
    from larix.recipes.served import Front, listening, place_of
    from larix.recipes.served import serve as served

    console = Console()
    front = Front(
        host=host,
        port=port,
        grpc_port=grpc_port,
        tokens=token_file,
        cert=cert,
        key=key,
        timeout_s=timeout_ms / 1e3,
        log_calls=log_calls,
    )
    files = {}
    for each in values or ():
        name, _, path = each.partition("=")
        if not path:
            raise ConfigError(f"--values {each!r} names no file; write it as MODEL=FILE")
        files[name] = str(Path(path).absolute())
    work = work_of(
        [place_of(each, console) for each in places],
        streams=streams or int(processes > 0),
        follow=follow,
        deltas=deltas,
        values=files,
        traces=traces,
        levels=_levels(hot_rows, cold_rows, rows_folder),
    )
    with ExitStack() as stack:
        taken = None
        if feedback is not None:
            log = stack.enter_context(opened(feedback))
            taken = stack.enter_context(feedback_to(log, actions, keyed=keyed))
        if processes:
            server = listening_apart(work, front, processes, feedback=taken)
        else:
            found, back = stack.enter_context(back_of(work))
            server = listening(found, front, replace(back, feedback=taken))
        stopped = stack.enter_context(_Stop()).wanted
        served(stack.enter_context(server), console, stopped)


def _levels(hot: str | None, cold: str, folder: Path | None) -> dict[str, str] | None:
    """What ``Levels`` is made of; None if all rows are to be whole. ConfigError for what cannot be."""
    if hot is None:
        if cold != "int8" or folder is not None:
            raise ConfigError(
                "--cold-rows and --rows-folder are of rows that are not hot; give --hot-rows, too"
            )
        return None
    told = {"hot_bytes": hot, "cold": cold, "folder": str((folder or Path(tempfile.gettempdir())).absolute())}
    Levels(**cast(Any, told))  # a mistake is told before anything is loaded
    return told


class _Stop:
    """While entered, SIGINT and SIGTERM set ``wanted``, and a second one ends the process as usual."""

    def __init__(self) -> None:
        self.wanted = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_Stop":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._wish)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _wish(self, *_: object) -> None:
        self.wanted.set()
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, before = self._before.popitem()
            signal.signal(number, before)
