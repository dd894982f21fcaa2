"""Where an online run begins or goes on: a run to start from or the newest version, made ready to be trained.

Knows run folders; knows nothing of samples or of what is published.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from larix.embedding import Tables
from larix.errors import ConfigError
from larix.features import Sample
from larix.model.embed import Embed
from larix.train import checkpoint, generators
from larix.train.checkpoint import Checkpoint
from larix.train.learner import Dense, make_learner
from larix.train.memory import keep_freed_memory
from larix.train.online.settings import OnlineSettings
from larix.train.point import Point
from larix.train.run import Run, read_json, write_json
from larix.train.settings import Settings
from larix.train.step import Learner
from larix.train.threads import torch_team

Network = Callable[[Sample], nn.Module] | nn.Module


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Started:
    """A learner and its tables at ``point``; ``said``: the online state of the version gone on with, None at the start."""

    learner: Learner
    tables: Tables
    training: Settings
    point: Point
    found: Checkpoint
    said: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frozen:
    """A run that stays as it is, to be held against."""

    ranker: nn.Module
    embed: Embed


def started(
    start: Run | str | Path,
    folder: Path,
    ranker: Network | None,
    dense: Dense,
    settings: OnlineSettings,
    *,
    memory_budget: int | str | None,
    cold: str | Path | None,
) -> Started:
    """Load the newest version in ``folder``, or that of ``start`` if there is none yet; see ``online``."""
    keep_freed_memory()
    found = checkpoint.load(folder / "versions")
    said = None if found is None else found.state["history"].get("online")
    origin = start.folder if isinstance(start, Run) else Path(start)
    if found is None:
        found = checkpoint.load(origin / "versions")
        if found is None:
            raise ConfigError(
                f"'{origin}' has no version to begin from; give the folder of a run that has saved one"
            )
        config = read_json(origin / "config.json")
    else:
        if said is None:
            raise ConfigError(f"'{folder}' holds a run of fit; choose a folder of its own for the online run")
        config = read_json(folder / "config.json")
    training = replace(Settings.from_json(config["settings"]), staleness=0)
    generators.seed_all(training.seed)
    sample = found.sample
    network = _network(ranker, start, sample)
    tables = found.tables(Tables, None, training.threads, memory_budget, cold)
    assert isinstance(tables, Tables)
    tables.borrow_threads(torch_team())
    tables.cut()  # from here on it is noted what changes
    learner = make_learner(sample, network, tables, dense, training)
    found.restore(learner)
    if said is None:
        write_json(folder / "config.json", {**config, "online": json.loads(json.dumps(settings.to_json()))})
    return Started(
        learner=learner,
        tables=tables,
        training=training,
        point=Point() if said is None else found.point,
        found=found,
        said=said,
    )


def frozen(run: Run | None, learner: Learner) -> Frozen | None:
    """``run``, ready to score the batches of ``learner``; ConfigError if its samples have other tasks."""
    if run is None:
        return None
    if run.sample.tasks != learner.embed.sample.tasks:
        raise ConfigError("the run to be held against has other tasks; give one that predicts the same")
    if run.ranker is learner.ranker:
        raise ConfigError("the run to be held against would be trained: load it a second time by Run.load")
    weight = next(run.ranker.parameters(), None)
    embed = Embed(run.sample, run.tables, "cpu" if weight is None else weight.device)
    return Frozen(ranker=run.ranker.eval(), embed=embed)


def _network(ranker: Network | None, start: Run | str | Path, sample: Sample) -> nn.Module:
    if isinstance(ranker, nn.Module):
        return ranker
    if ranker is not None:
        return ranker(sample)
    if not isinstance(start, Run):
        raise ConfigError(
            "a run folder does not hold the network's code; give ranker=, what makes it of the sample"
        )
    return copy.deepcopy(start.ranker)
