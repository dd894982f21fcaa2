"""fit: train a ranker and its tables on a source, in a run folder that it can be resumed from.

Knows nothing of what the ranker computes.
"""

import math
import resource
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

import larix
from larix.data import Files
from larix.data.log import Lease
from larix.embedding import RowAdagrad, Tables, TableSpec, Uniform
from larix.embedding.admission import Admission
from larix.embedding.eviction import Eviction
from larix.embedding.init import Init
from larix.errors import ConfigError, DataError, NumericsError, StorageError
from larix.features import Sample
from larix.train import checkpoint, generators, version
from larix.train.checkpoint import Checkpoint, SavedStore
from larix.train.journal import Journal
from larix.train.learner import Dense, make_learner
from larix.train.loop import Outcome, loop
from larix.train.memory import keep_freed_memory
from larix.train.point import Point
from larix.train.progress import Bar
from larix.train.run import Run, write_json
from larix.train.settings import Settings
from larix.train.specs import Rows, specs_of
from larix.train.step import Learner
from larix.train.threads import torch_team

_ROWS, _INIT, _SETTINGS = RowAdagrad(), Uniform(), Settings()


def fit(
    sample: Sample,
    ranker: nn.Module,
    source: Files,
    *,
    rows: Rows = _ROWS,
    init: Init = _INIT,
    admission: Admission | None = None,
    eviction: Eviction | None = None,
    memory_budget: int | str | None = None,
    cold: str | Path | None = None,
    dense: Dense = torch.optim.AdamW,
    settings: Settings = _SETTINGS,
    validation: Files | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    config: Mapping[str, Any] | None = None,
    console: Console | None = None,
    store: type[SavedStore] = Tables,
) -> Run:
    """Train ``ranker`` and the tables of ``sample`` on ``source``; return the run.

    Args:
        sample: what a sample is; fitted on ``source`` first if it is not fitted.
        ranker: ``forward(Inputs) -> [B, tasks]``. Its weights begin as they are: seed torch before making it.
        source: samples with labels.
        rows: the rows' optimizer, for all tables; or table name -> spec, others getting RowAdagrad.
        init: how rows are born, where ``rows`` gives no spec; so are ``admission``, which ids get a row, and
            ``eviction``, which rows go when memory is short: see ``embedding.TableSpec``.
        memory_budget: of the tables, as ``"4GiB"``: see ``embedding.Tables``. Rows are evicted within steps, so that
            a run stays one that can be repeated. cold: a folder where rows go instead that do not fit in the budget;
            they come back on use, and the run is, to the bit, the one that all memory would have given.
        dense: what makes the dense optimizer of the ranker's parameters, such as
            ``partial(torch.optim.AdamW, lr=1e-3, fused=True)``.
        settings: everything else about training.
        validation: held-out samples to measure on while training.
        folder: the run folder; ``runs/<time>`` if None. ``resume``: go on from its newest version, if it has
        one. config: what else ``config.json`` should say, such as the recipe. JSON values. console: where to
        show progress; None shows nothing. store: what holds the rows.

    Raises:
        ConfigError: arguments that do not fit each other, the source, or the version to resume from.
        LeaseError: another process trains in ``folder``.
        DataError: a sample cannot be read. StorageError: a version cannot be written or read.
        NumericsError: a loss or gradient is not finite; the message names the file its batch was saved to.
        KeyboardInterrupt: Ctrl-C was pressed; the step was finished and a version saved.
    """
    if not sample.tasks:
        raise ConfigError(
            "the sample has no task to learn; give it one, as Sample(tasks=[Binary('is_click')], ...)"
        )
    folder = Path("runs", f"{datetime.now():%Y-%m-%d-%H%M%S}") if folder is None else Path(folder)
    found = checkpoint.load(folder / "versions")
    if found is not None and not resume:
        raise ConfigError(
            f"'{folder}' already holds a run; go on with it by resume=True, or choose another folder"
        )
    keep_freed_memory()
    generators.seed_all(settings.seed)
    sample = _fitted(sample, source, found)
    specs = specs_of(sample, rows, init, admission, eviction)
    tables = (
        store(
            specs,
            seed=settings.seed,
            threads=settings.threads,
            memory_budget=memory_budget,
            cold=cold,
            background=False,
        )
        if found is None
        else found.tables(store, specs, settings.threads, memory_budget, cold)
    )
    if settings.staleness == 0 and isinstance(tables, Tables):
        tables.borrow_threads(torch_team())  # lookups and kernels take turns, so one team can serve both
    learner = make_learner(sample, ranker, tables, dense, settings)
    steps = math.ceil(source.rows / settings.batch_size) * settings.epochs
    steps = min(steps, settings.steps) if settings.steps else steps
    if not steps:
        raise DataError("the source has no rows to train on; check the files and the days asked for")
    start = Point() if found is None else found.point
    run = Run(
        folder=folder,
        sample=sample,
        ranker=ranker if learner.average is None else learner.average.module,
        tables=tables,
        settings=settings,
    )
    with _alone(folder, found):
        write_json(folder / "config.json", _config(run, learner, specs, config or {}))
        total = min(source.rows * settings.epochs, steps * settings.batch_size)
        bar = Bar(console, [task.name for task in sample.tasks], total, start.samples)
        journal = Journal(
            folder,
            learner,
            tables,
            bar,
            log_every=settings.log_every or max(1, steps // 200),
            keep=settings.keep,
            evaluate=None if validation is None else lambda: run.evaluate(validation),
        )
        if found is not None:
            found.restore(learner)
            journal.resume(found.state["history"], start)
        stream = source.stream(
            columns=sample.columns,
            batch_size=settings.batch_size,
            shuffle=settings.shuffle,
            seed=settings.seed,
            epochs=settings.epochs,
            prefetch=settings.prefetch,
            position=start.position,
        )
        write_json(folder / "metrics.json", {"state": "running"})
        with bar:
            try:
                outcome = loop(learner, stream, settings, journal, start=start, steps=steps)
            except (DataError, NumericsError):
                run.record(steps=journal.steps, evaluations=journal.evaluations)
                raise
            journal.finish(outcome.point)
        ranker.eval()
        if not outcome.interrupted:
            journal.evaluate(outcome.point)
        run.record(**_measured(run, journal, outcome))
        if outcome.interrupted:
            raise KeyboardInterrupt(
                f"stopped after step {outcome.point.step} of {steps}; the same call with folder='{folder}' and "
                "resume=True goes on from there"
            )
        return run


def _alone(folder: Path, found: Checkpoint | None) -> Lease:
    """Make the run folder and take it for this process alone, as ``found`` said it stands.

    LeaseError: another process trains there. ConfigError: one did since ``found`` was read.
    """
    try:
        (folder / "versions").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the run folder '{folder}' cannot be made: {error.strerror}") from error
    lease = Lease(folder / "lease", f"the run '{folder}'")
    newest = version.versions(folder / "versions")[-1:]
    if newest != ([] if found is None else [found.path]):
        lease.close()
        raise ConfigError(
            f"another process has trained in '{folder}' meanwhile; go on with it by resume=True, or choose another folder"
        )
    return lease


def _fitted(sample: Sample, source: Files, found: Checkpoint | None) -> Sample:
    if found is not None:
        saved = found.sample
        if sample.is_fitted and sample != saved:
            raise ConfigError(
                f"the sample is not the one that '{found.path}' was trained with; give that one, or train "
                "anew in another folder"
            )
        return saved
    if sample.is_fitted:
        return sample
    with source.stream(columns=sample.columns) as stream:
        return sample.fit(stream)


def _config(run: Run, learner: Learner, specs: list[TableSpec], config: Mapping[str, Any]) -> dict[str, Any]:
    optimizer = learner.optimizer
    plain = {
        name: value
        for name, value in optimizer.defaults.items()
        if isinstance(value, bool | int | float | tuple)
    }
    return {
        **config,
        "settings": run.settings.to_json(),
        "dense": {"kind": type(optimizer).__name__, **plain},
        "rows": {spec.name: spec.to_json() for spec in specs},
        "tasks": {task.name: task.kind for task in run.sample.tasks},
        "versions": {"larix": larix.__version__, "torch": torch.__version__, "numpy": np.__version__},
    }


def _measured(run: Run, journal: Journal, outcome: Outcome) -> dict[str, Any]:
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "state": "interrupted" if outcome.interrupted else "finished",
        "steps": journal.steps,
        "evaluations": journal.evaluations,
        "phases": outcome.phases,
        "tables": {
            name: {
                "dim": spec.dim,
                "rows": run.tables.rows(name),
                "bytes": run.tables.rows(name) * spec.row_bytes,
            }
            for name, spec in run.tables.specs.items()
        },
        "dense_parameters": sum(weight.numel() for weight in run.ranker.parameters()),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }
