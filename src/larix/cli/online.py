"""`larix online`: a run trained on as samples come, and taken back to an older version. Knows how to ask and to print."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from larix.cli.log import opened
from larix.errors import ConfigError


def online(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The run to begin from, as train and demo leave it.")
    ],
    log: Annotated[str, typer.Option(metavar="LOG", help="A log's folder, or kafka://HOST:PORT.")],
    topic: Annotated[
        str, typer.Option("--samples", metavar="TOPIC", help="The topic of samples that are ready.")
    ] = "samples",
    deltas: Annotated[
        str, typer.Option(metavar="TOPIC", help="The topic that changes go to; made if it is not there.")
    ] = "deltas",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="The online run's folder: begun, or gone on with. Default: RUN/online."
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="At what rate a joiner kept negatives, if it dropped some."),
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Wait no longer for a partition that is silent for so many seconds. Default: wait.",
        ),
    ] = None,
    ahead: Annotated[
        float,
        typer.Option(
            metavar="S",
            help="Leave out samples whose time is more than so many seconds after they were appended.",
        ),
    ] = 86_400,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Test RUN as it is on the same samples, too.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="End with what is in the log now, instead of waiting for more.")
    ] = False,
    words: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as batch_size=512; repeatable."),
    ] = None,
    back_to: Annotated[
        str | None,
        typer.Option(
            "--back-to",
            metavar="VERSION",
            help="Train nothing: go back to this version, and have followers load it.",
        ),
    ] = None,
) -> None:
    """Train a run on as samples come: test on each batch first, train, publish what changed every few seconds.

    It leaves a folder to go on from: after Ctrl-C or a crash the same command does.

    Example: [bold]larix online runs/three --log events --samples samples[/]

    Back: [bold]larix online runs/three --log events --back-to step-0000001200[/]
    """
    folder = out or run / "online"
    with opened(log) as events:
        if back_to is not None:
            from larix.train.online import Deltas, rollback

            path = rollback(folder, back_to, deltas=Deltas(log=events, topic=deltas))
            Console().print(f"the run goes on from {path}", markup=False, soft_wrap=True)
            return
        from larix.recipes import carry_on
        from larix.train.online import LoggedSamples

        if not (run / "config.json").exists():
            raise ConfigError(f"'{run}' is no run; give a folder that train or demo has left")
        samples = LoggedSamples(events, topic, rate=rate, idle_s=idle, ahead_s=ahead)
        try:
            outcome = carry_on(
                run,
                samples,
                folder,
                Console(),
                log=events,
                deltas=deltas,
                words=words or (),
                frozen=frozen,
                until=(lambda: True) if once else None,
            )
        finally:
            samples.close()
        Console().print(
            f"{'stopped' if outcome.stopped else 'ended'} after step {outcome.step}, {outcome.samples:,} samples, "
            f"{outcome.skipped} batches skipped{_left_out(samples.future)}; saved in {folder}",
            markup=False,
            soft_wrap=True,
        )


def _left_out(future: int) -> str:
    return f", {future:,} samples of the future left out (see --ahead)" if future else ""
