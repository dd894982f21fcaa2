"""`larix compile`: what the rules make of a run's ranker, and an artifact of it. Knows how to ask and to print."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from larix.cli.runs import Folder
from larix.errors import ConfigError

if TYPE_CHECKING:
    from larix.compile import Backend

BackendName = Annotated[
    str, typer.Option("--backend", metavar="NAME", help="openvino, onnxruntime or eager.")
]
Buckets = Annotated[str, typer.Option("--buckets", metavar="NUMBERS", help="Candidates to pad to.")]


def compile(
    run: Folder,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say what each rule did and what it saves, and what blocks hoisting."),
    ] = False,
    per_request: Annotated[
        str | None,
        typer.Option(
            "--per-request",
            metavar="NAMES",
            help="Slots, dense values and sequences that are alike for all candidates of a request, with commas. "
            "Default: the group's slots and all sequences.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help="Compile into this folder, for this machine."),
    ] = None,
    candidates: Annotated[
        int, typer.Option(metavar="N", help="Of the request that savings are told of.")
    ] = 500,
    buckets: Buckets = "64,128,256,512",
    backend: BackendName = "openvino",
    auc_loss: Annotated[
        float | None,
        typer.Option(
            "--auc-loss",
            metavar="MOST",
            help="Compute in bf16 and int8 what may cost at most so much AUC, and 1% of calibration, on the test days. "
            "Default: all in fp32.",
        ),
    ] = None,
) -> None:
    """Rewrite a run's ranker for serving: what depends on the request alone is computed once per request.

    Example: [bold]larix compile runs/three --explain --per-request user,hour,history,past[/]

    Example: [bold]larix compile runs/three -o compiled --auc-loss 0.0005[/]
    """
    from larix import compile as compiling
    from larix.recipes.compiled import compile_run, held_out, logged_samples

    if not explain and out is None:
        raise ConfigError("nothing to do: say --explain to see what the rules do, or --out DIR to compile")
    console = Console(highlight=False, soft_wrap=True, markup=False)
    names = None if per_request is None else [name.strip() for name in per_request.split(",") if name.strip()]
    compiled = compile_run(run, names, candidates)
    before, after = compiling.cost(compiled.before, candidates), compiling.cost(compiled.after, candidates)
    if explain:
        own = compiling.optimise(compiled.after, backend_of(backend).rules, candidates)[1]
        steps = [(step, f"saves {step.saved}") for step in compiled.steps]
        steps += [(step, f"in the form that {backend} is quickest with") for step in own]
        for step, what in steps:
            console.print(f"{step.rule:<8} {what}")
            for note in step.notes:
                console.print(f"         {note}")
        for block in compiled.blocks:
            console.print(
                f"blocked  at {block.where}: columns of the request meet the candidate's there; apart, they would save "
                f"{compiling.Cost(flops=block.flops * candidates).told_flops} in the Linears behind"
            )
    console.print(f"A request of {candidates} candidates: {before} -> {after}")
    if out is None:
        return
    engine, precision = backend_of(backend), compiling.Precision()
    if auc_loss is not None:
        samples = held_out(compiled, logged_samples(compiled.run, run, Console()))
        offered = [kind for kind in ("int8", "bf16") if kind in engine.kinds]
        precision = compiling.choose(compiled.after, samples, compiling.Bound(auc_loss=auc_loss), offered)
        told = ", ".join(f"{name} {value:.2g}" for name, value in precision.measured.items())
        console.print(f"{len(precision.units)} products in less than fp32; measured: {told}")
    artifact = compiling.compile(
        compiled.after,
        out,
        captured=compiled.before.inputs,
        backend=engine,
        buckets=buckets_of(buckets),
        precision=precision,
    )
    console.print(f"Compiled: {artifact.folder}")


def backend_of(name: str) -> "Backend":
    """The back-end of that name; ConfigError if there is none."""
    from larix.compile import Eager, OnnxRuntime, OpenVINO

    made = {each.name: each for each in (OpenVINO, OnnxRuntime, Eager)}
    if name not in made:
        raise ConfigError(f"there is no back-end '{name}'; there are {', '.join(made)}")
    return made[name]()


def buckets_of(words: str) -> list[int]:
    """Numbers of candidates; ConfigError if they are none."""
    try:
        return [int(each) for each in words.split(",")]
    except ValueError:
        raise ConfigError(f"--buckets {words!r} are no numbers; write them as 64,128,256") from None
