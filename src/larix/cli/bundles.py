"""`larix export`, `larix check`: a run made ready to be served, and looked at again. Knows how to ask and to print."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from larix.cli.compile import BackendName, Buckets, backend_of, buckets_of
from larix.cli.runs import Folder

Bundled = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that export has made.")]


def export(
    run: Folder,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="BUNDLE", help="The folder to make.")],
    name: Annotated[
        str, typer.Option(metavar="MODEL", help="What requests call the model. Default: the run's name.")
    ] = "",
    rows: Annotated[
        str, typer.Option(metavar="PRECISION", help="What rows are kept in: fp32, bf16, fp16 or int8.")
    ] = "fp32",
    auc_loss: Annotated[
        float | None,
        typer.Option(
            "--auc-loss",
            metavar="MOST",
            help="Compute in bf16 and int8 what may cost at most so much AUC, and 1% of calibration, on the test days; rows in "
            "less than fp32 are held to it as well. Default: all products in fp32, rows held to 0.0005.",
        ),
    ] = None,
    bound: Annotated[
        float,
        typer.Option(
            metavar="MOST", help="By how much a logit may differ from the trained network's in fp32."
        ),
    ] = 1e-4,
    backend: BackendName = "openvino",
    buckets: Buckets = "64,128,256,512",
) -> None:
    """Export a run's newest version as a bundle: all that answering needs, without training code.

    Serving is compared with training before the bundle is there: features bit for bit, logits within the bound. One that
    differs is not exported.

    Example: [bold]larix export runs/three -o bundles/three[/]

    Example: [bold]larix export runs/three -o bundles/small --rows int8 --auc-loss 0.0005[/]
    """
    from larix.recipes.bundled import Export, export_run

    console, began = _console(), time.monotonic()
    how = Export(
        model=name,
        precision=rows,  # type: ignore[arg-type]  # checked where rows are written
        auc_loss=auc_loss,
        bound=bound,
        backend=backend_of(backend),
        buckets=buckets_of(buckets),
    )
    bundle = export_run(run, out, Console(), how)
    told = bundle.manifest
    units = len(told["precision"]["units"])
    console.print(
        f"{told['rows']['count']} rows in {told['rows']['precision']}, {units} products in less than fp32"
    )
    _tell(told["parity"])
    console.print(f"Bundle: {bundle.folder}, {_bytes(bundle.folder)}, in {time.monotonic() - began:.1f} s")


def check(
    bundle: Bundled,
    compile: Annotated[
        bool,
        typer.Option("--compile", help="Compile it for this machine first, beside what it has for others."),
    ] = False,
    backend: BackendName = "openvino",
) -> None:
    """Read a bundle through, every file by its checksum, and compare serving with training again on its samples.

    Example: [bold]larix check bundles/three[/]
    """
    from larix.serve.bundle import Bundle

    console, began = _console(), time.monotonic()
    found = Bundle.open(bundle)
    console.print(f"{len(found.manifest['files'])} files are whole: {found.model}, {found.version}")
    if compile:
        found = found.compile_here(backend=backend_of(backend))
    _tell(found.check().to_json() | {"bound": found.bound})
    console.print(f"In {time.monotonic() - began:.1f} s")


def _tell(parity: Mapping[str, Any]) -> None:
    console = _console()
    console.print(
        f"features are equal bit for bit, {parity['requests']} requests of {parity['candidates']} candidates"
    )
    console.print(f"logits are off by {parity['error']:.2g} at most; the bound is {parity['bound']:.2g}")
    for name, value in parity.get("held_out", {}).items():
        console.print(f"on held-out samples: {name} {value:.2g}")


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True, markup=False)


def _bytes(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e6:.1f} MB"
