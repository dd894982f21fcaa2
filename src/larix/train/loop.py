"""The loop: reads, transforms, looks up, steps and saves, each ahead of the next where that changes nothing.

Knows nothing of how a version is written, what a run folder is, or how progress is shown.
"""

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Protocol

import pyarrow as pa
from torch import Tensor

from larix.batch import Batch
from larix.data import Stream
from larix.data.ahead import Ahead
from larix.errors import DataError, NumericsError
from larix.features import Sample
from larix.train.interrupt import Interrupt
from larix.train.lookahead import Lookahead, Placed
from larix.train.phases import Phases
from larix.train.point import Point
from larix.train.settings import Settings
from larix.train.step import Learner, step


class Watcher(Protocol):
    """Whom the loop tells, between steps and from its own thread.

    Nothing else touches the tables during ``evaluate`` and ``save``.
    """

    def stepped(self, point: Point, losses: Tensor) -> None:
        """A step was done; ``losses`` float32 ``[tasks]``. With staleness, updates may still be under way."""

    def evaluate(self, point: Point) -> None:
        """Measure, if there is anything to measure on."""

    def save(self, point: Point) -> None:
        """Write a checkpoint."""

    def failed(self, point: Point, batch: Batch, error: NumericsError) -> NumericsError:
        """The step after ``point`` met ``error`` on ``batch``; return what to raise."""

    def unread(self, records: pa.RecordBatch, error: DataError) -> DataError:
        """``records`` are not as declared, by ``error``, which counts rows in them; return what to raise. From any thread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a loop ended. ``phases``: seconds of waiting for batches, of lookups, dense work and updates."""

    point: Point
    interrupted: bool
    phases: Mapping[str, float]


def placed(sample: Sample, stream: Stream, watcher: Watcher) -> Generator[Placed, None, None]:
    """Transform the stream's record batches, each with the position after it; closes the stream."""
    with closing(stream):
        for records in stream:
            try:
                batch = sample.transform(records)
            except DataError as error:
                raise watcher.unread(records, error) from error
            yield Placed(batch, stream.position)


def loop(
    learner: Learner, stream: Stream, settings: Settings, watcher: Watcher, *, start: Point, steps: int
) -> Outcome:
    """Train from ``start`` until ``steps`` steps are done in all, the stream ends or Ctrl-C is pressed.

    However it ends, bad data and bad numbers included, the last good point is saved. A step that fails on
    its numbers (NumericsError) has changed nothing.
    """
    point = saved = start
    phases = Phases()
    began = perf_counter()
    with (
        Interrupt() as interrupt,
        Ahead(placed(learner.embed.sample, stream, watcher), settings.prefetch) as batches,
        Lookahead(learner.embed, settings.staleness, phases) as lookahead,
    ):

        def save() -> None:
            nonlocal saved
            lookahead.settle()
            if point.step > saved.step:
                watcher.save(point)
                saved = point

        try:
            left = islice(batches, max(0, steps - start.step))
            for item, inputs in lookahead(phases.waiting("read", left)):
                if interrupt.wanted:
                    break
                try:
                    with phases("step"):
                        losses = step(
                            learner,
                            item.batch,
                            inputs,
                            settings,
                            dense_scale=settings.dense_schedule.scale(point.step, steps),
                            rows_scale=settings.rows_schedule.scale(point.step, steps),
                            apply=lookahead.apply,
                        )
                except NumericsError as error:
                    raise watcher.failed(point, item.batch, error) from error
                point = Point(
                    step=point.step + 1,
                    samples=point.samples + item.batch.size,
                    seconds=start.seconds + perf_counter() - began,
                    position=item.position,
                )
                watcher.stepped(point, losses)
                if _due(settings.evaluate_every, point):
                    lookahead.settle()
                    paused = perf_counter()
                    watcher.evaluate(point)
                    began += perf_counter() - paused
                if _due(settings.save_every, point):
                    save()
        except (DataError, NumericsError):
            save()
            raise
        save()
    return Outcome(point=point, interrupted=interrupt.wanted, phases=_shares(phases, settings))


def _due(every: int, point: Point) -> bool:
    return every > 0 and point.step % every == 0


def _shares(phases: Phases, settings: Settings) -> dict[str, float]:
    took = phases.seconds
    inside = 0.0 if settings.staleness else took["update"]  # a background update is no part of the step
    return {
        "read": took["read"],
        "lookup": took["lookup"],
        "dense": took["step"] - inside,
        "update": took["update"],
    }
