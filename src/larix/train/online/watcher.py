"""Whom an online run tells what happens: a journal, a dashboard, a test. Knows nothing of how training goes on.

All calls come from the run's own thread, one after the other; what takes long there holds the run up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa

from larix.batch import Batch, Floats

Json = dict[str, Any]
Kind = Literal["rows", "dense", "snapshot", "fence"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tested:
    """A batch before it is trained on, and its scores float32 ``[B, tasks]``: a logit, or log1p of seconds.

    ``frozen``: the scores of the ranker that the run is held against, if there is one. ``weight`` float32 ``[B]``: how much a
    sample counts in metrics, so that down-sampled ones stand for all.
    """

    step: int
    records: pa.RecordBatch
    batch: Batch
    scores: Floats
    frozen: Floats | None
    weight: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """After a batch: totals of the run, and how it stands.

    ``event_ms``: the latest event time trained on; ``lag``: events that are there and were not handed out yet; ``pending``:
    samples that wait for their batch to fill; ``skipped``: batches not trained on; ``held``: why nothing is published, ""
    if it is; ``losses``: by task, None if the batch was skipped; ``seconds``: of this process since it began.
    """

    step: int
    samples: int
    event_ms: int
    lag: int
    pending: int
    skipped: int
    held: str
    losses: Mapping[str, float] | None
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Metrics of the samples of one span of event time, each tested before it was trained on, and of all so far.

    ``metrics`` and ``total`` are what ``Metrics.compute`` gives; ``frozen`` and ``frozen_total`` those of the ranker that the
    run is held against, None without. ``held``: why nothing is published since then, "" if it is.
    """

    first_ms: int
    last_ms: int
    step: int
    samples: int
    metrics: Json
    total: Json
    frozen: Json | None
    frozen_total: Json | None
    held: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A message, or several that belong together, is durable in the topic of deltas.

    ``sequence``: the state that it leads to. ``event_ms``: the latest event time in it; ``time_ms``: the wall clock when it was
    durable; ``seconds``: from the instant of its state to that.
    """

    kind: Kind
    step: int
    sequence: int
    rows: int
    removed: int
    bytes: int
    event_ms: int
    time_ms: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """A version is whole on disk; it took ``seconds`` beside training."""

    step: int
    path: Path
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """Something a person should look at: ``what`` in a word, such as "held", "released", "skipped", "storage"."""

    step: int
    what: Literal["held", "released", "skipped", "storage"]
    text: str


class Watcher(Protocol):
    """What an online run calls. Inherit from it to answer some of it only: what is left out does nothing."""

    def tested(self, tested: Tested) -> None:
        """A batch was scored, before anything was learned from it."""
        return

    def progressed(self, progress: Progress) -> None:
        """A batch was trained on, or skipped."""
        return

    def measured(self, window: Window) -> None:
        """A span of event time is over."""
        return

    def published(self, published: Published) -> None:
        """Something went into the topic of deltas."""
        return

    def saved(self, saved: Saved) -> None:
        """A version was written."""
        return

    def alarmed(self, alarm: Alarm) -> None:
        """Publishing was held or released, a batch was skipped, a disk failed."""
        return


class Silent(Watcher):
    """A watcher that does nothing."""
