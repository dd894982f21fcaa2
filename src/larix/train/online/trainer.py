"""One batch of an online run: tested, then trained on; or put aside if it cannot be. Knows nothing of what comes after."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from larix.batch import Batch, Floats
from larix.errors import DataError, NumericsError, StorageError
from larix.features import Sample
from larix.features.label import stands_for
from larix.model.embed import Embed
from larix.train.batchfile import write_batch
from larix.train.online.marks import Marks
from larix.train.online.settings import OnlineSettings
from larix.train.online.start import Frozen, Started
from larix.train.online.watcher import Tested
from larix.train.step import step

_PIECES = 64  # that a batch is taken to, at most, to find the rows that cannot be read


@dataclass(frozen=True, kw_only=True, slots=True)
class Aside:
    """Why a batch was skipped, or some of its rows left out; ``numbers``: for they are not finite."""

    why: str
    numbers: bool = False


class Trainer:
    """Takes batches, one after the other. A batch that cannot be trained on changes no weight and is kept as a file."""

    def __init__(
        self, started: Started, settings: OnlineSettings, marks: Marks, frozen: Frozen | None, folder: Path
    ) -> None:
        self._learner = started.learner
        self._tables = started.tables
        self._training = started.training
        self._settings = settings
        self._marks = marks
        self._frozen = frozen
        self._folder = folder
        self._names = [task.name for task in started.learner.embed.sample.tasks]

    @property
    def ranker(self) -> nn.Module:
        """The weights for use: the moving average if there is one."""
        average = self._learner.average
        return self._learner.ranker if average is None else average.module

    def test(self, records: pa.RecordBatch, number: int) -> tuple[Tested | None, Aside | None]:
        """Score batch ``number`` as serving would have: None if it is skipped; and what was put aside, if something was."""
        sample = self._learner.embed.sample
        good, bad, reason = _readable(sample, records)
        aside = Aside(why=self._keep_rows(bad, number, reason)) if bad else None
        if good is None:
            return None, aside
        records, batch = good
        scores = _scores(self.ranker, self._learner.embed, batch)
        if not np.isfinite(scores).all():
            self._end(batch, None)
            why = f"batch {number} has scores that are not finite; {self._keep(batch, number)}"
            return None, Aside(why=why, numbers=True)
        weight = stands_for(sample.tasks, batch)
        tested = Tested(
            step=number,
            records=records,
            batch=batch,
            scores=scores,
            frozen=None if self._frozen is None else self._held_against(records, batch),
            weight=np.ones(batch.size, np.float32) if weight is None else weight,
        )
        return tested, aside

    def train(self, tested: Tested, event_ms: int) -> tuple[dict[str, float] | None, Aside | None]:
        """Train on a batch that was tested; its losses by task, None if it was skipped after all."""
        learner, settings, number = self._learner, self._settings, tested.step
        if settings.clock == "event_time":
            self._tables.clock = max(0, event_ms // 1000)
        scale = settings.schedule.scale(number - 1, 0)
        try:
            losses = step(
                learner,
                tested.batch,
                learner.embed(tested.batch, train=True),
                self._training,
                dense_scale=scale * settings.dense_scale,
                rows_scale=scale * settings.rows_scale,
            )
        except NumericsError as error:
            self._end(tested.batch, None)
            why = f"batch {number}: {error}; {self._keep(tested.batch, number)}"
            return None, Aside(why=why, numbers=True)
        self._end(tested.batch, tested.scores)
        return dict(zip(self._names, losses.tolist(), strict=True)), None

    def _end(self, batch: Batch, scores: Floats | None) -> None:
        """End the sequence number of a batch, so that it counts batches and nothing else."""
        self._marks.add(self._tables.cut(), batch, scores)

    def _held_against(self, records: pa.RecordBatch, batch: Batch) -> Floats:
        assert self._frozen is not None
        embed = self._frozen.embed
        if embed.sample != self._learner.embed.sample:
            batch = embed.sample.transform(records)
        return _scores(self._frozen.ranker, embed, batch)

    def _keep(self, batch: Batch, number: int) -> str:
        path = self._folder / f"failed-step-{number}.safetensors"
        return self._kept(path, lambda: write_batch(batch, path))

    def _keep_rows(self, bad: list[pa.RecordBatch], number: int, reason: str) -> str:
        path = self._folder / f"failed-step-{number}.arrow"

        def write() -> None:
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, bad[0].schema) as writer:
                for each in bad:
                    writer.write_batch(each)

        rows = sum(len(each) for each in bad)
        return f"{rows} samples of batch {number} cannot be read: {reason}; {self._kept(path, write)}"

    def _kept(self, path: Path, write: Callable[[], None]) -> str:
        """Write the file, unless there are enough of its kind; what came of it, in words."""
        if len(list(self._folder.glob("failed-step-*"))) >= self._settings.failed and not path.exists():
            return f"it was not kept, for there are {self._settings.failed} such files already"
        try:
            write()
        except (OSError, StorageError) as error:
            return f"it could not be kept: {error}"
        return f"kept as '{path}'"


def _scores(ranker: nn.Module, embed: Embed, batch: Batch) -> Floats:
    training = ranker.training
    ranker.eval()
    try:
        with torch.inference_mode():
            scores: Floats = ranker(embed(batch, train=False)).float().cpu().numpy()
    finally:
        ranker.train(training)
    return scores


def _readable(
    sample: Sample, records: pa.RecordBatch
) -> tuple[tuple[pa.RecordBatch, Batch] | None, list[pa.RecordBatch], str]:
    """The rows of ``records`` that can be read, and as a batch; those that cannot, and why the first.

    Halves are tried until the rows are found, some dozens at most: then what is left goes with the bad ones.
    """
    try:
        return (records, sample.transform(records)), [], ""
    except DataError as error:
        reason = str(error)
    good: list[pa.RecordBatch] = []
    bad: list[pa.RecordBatch] = []
    todo, tried = [records], 0
    while todo:
        piece = todo.pop(0)
        tried += 1
        try:
            sample.transform(piece)
            good.append(piece)
        except DataError:
            if len(piece) == 1 or tried > _PIECES:
                bad.append(piece)
            else:
                half = len(piece) // 2
                todo[:0] = [piece.slice(0, half), piece.slice(half)]
    if not good:
        return None, bad, reason
    together = pa.concat_batches(good)
    return (together, sample.transform(together)), bad, reason
