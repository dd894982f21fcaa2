"""A captured network with other weights, optimised and compiled again in a process of its own that gives way to others.

Knows neither the module that was captured nor where weights come from.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from larix.compile.artifact import BACKENDS, BUCKETS
from larix.compile.backends import Backend, OpenVINO
from larix.compile.capture import CONSTANT
from larix.compile.forms import compile_forms
from larix.compile.graph import Graph, from_json, to_json
from larix.compile.optimise import optimise
from larix.compile.precision import Precision
from larix.compile.ranker import WITHIN
from larix.errors import ConfigError, LarixError, StorageError

_GRAPH, _WEIGHTS, _WANTED, _FORMS = "graph.json", "weights.safetensors", "wanted.json", "forms"
# A process gives way before it imports anything: that takes as much of a core as some hundred requests do.
_CODE = """
import os, sys
place, nice, cores = sys.argv[1:]
if cores: os.sched_setaffinity(0, map(int, cores.split(",")))
if nice != "idle": os.nice(int(nice))
else:
    try: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError: os.nice(19)  # some sandboxes know no policies
from larix.compile import afresh
afresh.main(place)
"""
_KINDS: Mapping[str, type[LarixError]] = {each.__name__: each for each in (ConfigError, StorageError)}


def with_weights(captured: Graph, state: bytes | Mapping[str, Tensor], within: str = WITHIN) -> Graph:
    """The graph of the same network with other weights: a ``state_dict``, or what safetensors made of one.

    ``captured``: before any rule. ``within``: what the network's names in the graph begin with; a ranker's are
    ``module.ranker.``, other modules' ``module.``. StorageError if ``state`` is damaged, or of another network.
    """
    if isinstance(state, bytes):
        try:
            state = safetensors.torch.load(state)
        except safetensors.SafetensorError as error:
            raise StorageError(f"these are no weights: {error}; send them again") from error
    weights = {}
    for name, held in captured.weights.items():
        if name.startswith(CONSTANT):
            weights[name] = held
            continue
        given = state.get(name.removeprefix(within))
        if given is None or given.shape != held.shape or given.dtype != held.dtype:
            told = "not there" if given is None else f"{given.dtype} {list(given.shape)}"
            raise StorageError(
                f"weight '{name.removeprefix(within)}' is {told}; this network has {held.dtype} {list(held.shape)}; "
                "they are not of one network"
            )
        weights[name] = given.detach().contiguous()
    return replace(captured, weights=weights)


def compile_apart(
    captured: Graph,
    folder: str | Path,
    *,
    backend: Backend | None = None,
    buckets: Sequence[int] = BUCKETS,
    precision: Precision | None = None,
    idle_s: float = 60.0,
    nice: int = 10,
    cores: Collection[int] | None = None,
    timeout_s: float = 600.0,
) -> None:
    """Put a captured graph through all rules and ``compile_forms``, in a process of its own; ``folder`` is there once whole.

    ``precision``: as chosen for the graph of other weights; a product that these weights do not lead to is left out. ``idle_s``:
    so long the process has only what nobody else wants of the cores, on Linux; 0 is not at all. If that was not enough another
    begins anew, and gives way by ``nice``, see ``nice(1)``, for at most ``timeout_s``. ``cores``: that it may run on, those of
    this thread if None. The module's class is not needed, nor imported. Errors as with ``compile``; StorageError, too, if the
    process ends otherwise or takes too long.
    """
    target = Path(folder).resolve()
    wanted = {
        "backend": (backend or OpenVINO()).name,
        "buckets": list(buckets),
        "precision": (precision or Precision()).to_json(),
    }
    on = "" if cores is None else ",".join(map(str, cores))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".compiling-", dir=target.parent) as place:
            Path(place, _GRAPH).write_text(json.dumps(to_json(captured)), encoding="utf-8")
            Path(place, _WEIGHTS).write_bytes(safetensors.torch.save(dict(captured.weights)))
            Path(place, _WANTED).write_text(json.dumps(wanted), encoding="utf-8")
            _carry_out(place, on, nice, idle_s if sys.platform == "linux" else 0.0, timeout_s)
            shutil.rmtree(target, ignore_errors=True)
            Path(place, _FORMS).rename(target)
    except subprocess.TimeoutExpired as error:
        raise StorageError(
            f"compiling took longer than {timeout_s:g} s; give it more time, or fewer buckets"
        ) from error
    except OSError as error:
        raise StorageError(
            f"'{target.parent}' cannot be written: {error.strerror}; free some space"
        ) from error


def _carry_out(place: str, cores: str, nice: int, idle_s: float, timeout_s: float) -> None:
    """Have another interpreter do ``main`` on what stands in ``place``. TimeoutExpired if it must be ended."""
    if idle_s > 0:
        with suppress(
            subprocess.TimeoutExpired
        ):  # whoever is idle must not be given more again: only another may have it
            return _run([place, "idle", cores], idle_s)
    return _run([place, str(nice), cores], timeout_s)


def _run(words: Sequence[str], timeout_s: float) -> None:
    """``words``: see ``_CODE``."""
    one = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    done = subprocess.run(
        [sys.executable, "-c", _CODE, *words],
        env=os.environ | one,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode == 0:
        return
    last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
    kind, _, text = last.partition(": ")
    if kind in _KINDS:
        raise _KINDS[kind](text)
    raise StorageError(f"compiling in a process of its own failed: {last}")


def main(place: str) -> None:
    """What the other process does."""
    import torch

    wanted = json.loads(Path(place, _WANTED).read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    graph = json.loads(Path(place, _GRAPH).read_text(encoding="utf-8"))
    captured = from_json(graph, safetensors.torch.load(Path(place, _WEIGHTS).read_bytes()))
    try:
        compile_forms(
            optimise(captured)[0],
            Path(place, _FORMS),
            backend=BACKENDS[wanted["backend"]](),
            buckets=wanted["buckets"],
            precision=Precision.from_json(wanted["precision"]),
        )
    except LarixError as error:
        text = " ".join(str(error).split())
        print(f"{type(error).__name__}: {text}", file=sys.stderr)
        sys.exit(2)
