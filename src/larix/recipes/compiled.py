"""The ranker of a run compiled: its slots' levels, held-out samples of its own test days to measure precision on.

Knows nothing of rules or back-ends.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console

from larix import compile as compiling
from larix.compile.feeds import parts_of
from larix.errors import ConfigError
from larix.features import Sample
from larix.model.embed import Embed
from larix.recipes.run import open_feed, open_run
from larix.train import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """A run's ranker as a graph: ``before`` and ``after`` the rules, the ``steps`` between, what ``blocks`` hoisting."""

    run: Run
    before: compiling.Graph
    after: compiling.Graph
    steps: Sequence[compiling.Step]
    blocks: Sequence[compiling.Block]


def default_per_request(sample: Sample) -> list[str]:
    """Every sequence, and the slots made of the group's column alone: what is surely alike for one user's candidates."""
    own = [name for name, feature in sample.features.items() if set(feature.columns) == {sample.group}]
    return [*(name for name in own if name in sample.id_slots or name in sample.dense), *sample.sequences]


def compile_run(folder: Path, per_request: Collection[str] | None = None, candidates: int = 500) -> Compiled:
    """The ranker of the run in ``folder``; see ``compile_ranker``."""
    return compile_ranker(open_run(folder)[0], per_request, candidates)


def compile_ranker(run: Run, per_request: Collection[str] | None = None, candidates: int = 500) -> Compiled:
    """A run's ranker through all rules.

    ``per_request``: slots, dense values and sequences alike for all candidates of a request; None: see
    ``default_per_request``. ``candidates``: of the request that savings are told of.
    """
    names = default_per_request(run.sample) if per_request is None else per_request
    before = compiling.capture_ranker(run.sample, run.ranker.cpu(), names)
    after, steps = compiling.optimise(before, candidates=candidates)
    lint, _ = compiling.optimise(
        before, [rule for rule in compiling.RULES if rule.__name__ != "hoist"], candidates
    )
    return Compiled(run=run, before=before, after=after, steps=steps, blocks=compiling.blocks(lint))


def logged_samples(run: Run, folder: Path, console: Console, rows: int = 4096) -> pa.RecordBatch:
    """The first ``rows`` samples of the run's test days, as logged, labels included. ConfigError if there are none."""
    test = open_feed(folder, console).test
    with test.stream(batch_size=rows, columns=run.sample.columns) as stream:
        records = next(iter(stream), None)
    if records is None:
        raise ConfigError(
            f"the test days of '{folder}' have no sample to measure on; export or compile another run"
        )
    return records


def held_out(compiled: Compiled, records: pa.RecordBatch) -> compiling.Samples:
    """Logged samples as ``compiled.after`` takes them, each a request of its own."""
    run = compiled.run
    batch = run.sample.transform(records)
    inputs = compiling.tensors_of(Embed(run.sample, run.tables)(batch, train=False))
    arrays = {name: np.ascontiguousarray(each.numpy()) for name, each in inputs.items()}
    parts = parts_of(compiled.before.inputs, compiled.after, arrays, each=True)
    return compiling.Samples(arrays=parts, labels=batch.labels)
