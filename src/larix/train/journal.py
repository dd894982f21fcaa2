"""What a run leaves behind as it goes: losses, evaluations, versions, a batch or rows that failed. Takes no step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from larix.batch import Batch
from larix.errors import DataError, NumericsError
from larix.train import checkpoint
from larix.train.batchfile import write_batch
from larix.train.checkpoint import SavedStore
from larix.train.point import Point
from larix.train.progress import Bar
from larix.train.step import Learner

_SHOW_SECONDS = 0.25  # between two changes of the bar


class Journal:
    """The loop's watcher: shows, records and saves.

    ``steps``: mean losses since the entry before, with the totals of steps, samples and seconds, and what the tables hold
    and did since then.
    ``evaluations``: metrics on held-out samples. Both are in every version, so that a resumed run has its
    whole curve.
    """

    def __init__(
        self,
        folder: Path,
        learner: Learner,
        tables: SavedStore,
        bar: Bar,
        *,
        log_every: int,
        keep: int,
        evaluate: Callable[[], dict[str, Any]] | None,
    ) -> None:
        self.steps: list[dict[str, Any]] = []
        self.evaluations: list[dict[str, Any]] = []
        self._since: list[Tensor] = []  # losses of the steps since the last entry
        self._folder = folder
        self._learner = learner
        self._tables = tables
        self._bar = bar
        self._log_every = log_every
        self._keep = keep
        self._evaluate = evaluate
        self._counted = tables.stats()
        self._names = [task.name for task in learner.embed.sample.tasks]
        self._shown = Point()

    def resume(self, history: dict[str, Any], point: Point) -> None:
        """Go on from the history in a version."""
        self.steps, self.evaluations = history["steps"], history["evaluations"]
        self._since = [torch.tensor(losses) for losses in history["since"]]
        self._shown = point

    def stepped(self, point: Point, losses: Tensor) -> None:
        """Record the losses ``[tasks]`` of one step."""
        self._since.append(losses)
        if point.step % self._log_every == 0:
            self.log(point)
        seconds = point.seconds - self._shown.seconds
        if seconds >= _SHOW_SECONDS:
            speed = (point.samples - self._shown.samples) / seconds
            self._bar.show(point.samples, speed, losses.tolist())
            self._shown = point

    def log(self, point: Point) -> None:
        """End the entry being gathered, if there is one."""
        if self._since:
            means = torch.stack(self._since).mean(dim=0).tolist()
            self._since = []
            losses = dict(zip(self._names, means, strict=True))
            totals = {"step": point.step, "samples": point.samples, "seconds": point.seconds}
            self.steps.append({**totals, "loss": losses, "store": self._store()})

    def _store(self) -> dict[str, int]:
        """Rows and bytes now, and counts since the last call."""
        now, before = self._tables.stats(), self._counted
        self._counted = now
        counts = ("lookups", "hits", "evicted", "refused")
        return {"rows": now.rows, "bytes": now.bytes} | {
            name: getattr(now, name) - getattr(before, name) for name in counts
        }

    def finish(self, point: Point) -> None:
        """End the last entry and say it."""
        self.log(point)
        if self.steps:
            last = self.steps[-1]
            self._bar.show(point.samples, point.samples / point.seconds, list(last["loss"].values()))

    def evaluate(self, point: Point) -> None:
        """Measure on the held-out samples, where there are any."""
        if self._evaluate is not None and not self._evaluated(point):
            tasks = self._evaluate()["tasks"]
            self.evaluations.append({"step": point.step, "samples": point.samples, "tasks": tasks})

    def save(self, point: Point) -> None:
        """Write a version."""
        since = [losses.tolist() for losses in self._since]
        history = {"steps": self.steps, "evaluations": self.evaluations, "since": since}
        checkpoint.save(
            self._folder / "versions", self._learner, self._tables, point, history=history, keep=self._keep
        )

    def failed(self, point: Point, batch: Batch, error: NumericsError) -> NumericsError:
        """Keep the batch; return an error that names it, the step and the way out."""
        path = self._folder / f"failed-step-{point.step + 1}.safetensors"
        write_batch(batch, path)
        return NumericsError(
            f"step {point.step + 1}: {error}; the batch is in '{path}' (larix.train.read_batch reads it) and "
            "the state before it is saved; look for extreme values in it, or go on with a lower learning "
            "rate or a clip_norm"
        )

    def unread(self, records: pa.RecordBatch, error: DataError) -> DataError:
        """Keep the rows, which shuffling has brought together; return an error that says where they are."""
        path = self._folder / "failed-rows.parquet"
        try:
            pq.write_table(pa.Table.from_batches([records]), path)
        except (OSError, pa.ArrowException):  # what went wrong first is what has to be told
            return error
        return DataError(f"{error}; the rows that were read together are in '{path}', counted from 0")

    def _evaluated(self, point: Point) -> bool:
        return bool(self.evaluations) and self.evaluations[-1]["step"] == point.step
