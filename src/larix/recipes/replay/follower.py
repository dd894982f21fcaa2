"""The part of a replay that serves: answers every impression as it comes, from rows that follow the trainer's deltas.

Knows nothing of how they are trained, nor of what came of an impression.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from time import time_ns
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from larix.batch import Floats
from larix.data.join import JoinSpec
from larix.data.log import Consumer, DiskLog, EventLog
from larix.recipes.replay.place import ANSWERS, DELTAS, IMPRESSIONS, Place
from larix.recipes.replay.worker import Control
from larix.recipes.run import open_run, recipe_of
from larix.train import version
from larix.train.online import Deltas, Replica

_POLL_S = 0.02
_WAIT_S = 0.1
_GROUP = "follower"
_PROBE = 8  # impressions that are asked again


def follow(folder: Path, control: Control) -> None:
    """Answer impressions until told to stop; told that no more will come, until there are none left."""
    place = Place(folder)
    told = place.told()
    torch.set_num_threads(1)
    frozen, config = open_run(Path(told.run))
    recipe = recipe_of(config)
    spec = JoinSpec.from_json(told.join)
    with DiskLog(place.log) as log:
        log.create(ANSWERS)
        while not (
            {IMPRESSIONS, DELTAS} <= set(log.topics()) and version.versions(place.online / "versions")
        ):
            if control.stop.wait(_WAIT_S):
                return
        replica = Replica(place.online, recipe.ranker, Deltas(log=log, topic=DELTAS))
        names = [task.name for task in frozen.sample.tasks]
        with log.consumer(IMPRESSIONS, group=_GROUP) as consumer:
            control.ready()
            Follower(log, replica, consumer, names, spec).run(control)


class Follower:
    """Takes over deltas and answers impressions in turn.

    A row of an answer is the impression's ``key`` and ``time_ms``, ``learned_ms`` and ``sequence`` of the model that gave it,
    ``at_ms`` when (wall clock), and by task the score. When the model has changed and no impression came, the last ones are
    asked again, under a null key: so each state of the model gives an answer.
    """

    def __init__(
        self, log: EventLog, replica: Replica, consumer: Consumer, names: Sequence[str], spec: JoinSpec
    ) -> None:
        self._log, self._replica, self._consumer, self._names = log, replica, consumer, names
        self._key, self._time = spec.impressions.key, spec.impressions.time
        self._probe: pa.RecordBatch | None = None
        self._sequence = 0

    def run(self, control: Control) -> None:
        """Go on until there is no more to do."""
        while not control.stop.is_set():
            changed = self._replica.poll(0.0)
            if not self._replica.sequence:
                control.stop.wait(_WAIT_S)
                continue
            events = self._consumer.poll(_POLL_S, max_rows=1 << 12)
            if events:
                for records in together([each.rows for each in events]):
                    self._probe = records.slice(0, _PROBE)
                    self._answer(records, asked=True)
                self._consumer.commit()
            elif changed and self._probe is not None:
                self._answer(self._probe, asked=False)
            elif control.end.is_set() and not changed and not self._consumer.lag:
                return

    def _answer(self, records: pa.RecordBatch, *, asked: bool) -> None:
        scores = self._replica.scores(records)
        self._log.send(ANSWERS, self._rows(records, scores, asked))

    def _rows(self, records: pa.RecordBatch, scores: Floats, asked: bool) -> pa.RecordBatch:
        size = len(records)
        key = records[self._key] if asked else pa.nulls(size, records[self._key].type)
        columns: dict[str, Any] = {
            "key": key,
            "time_ms": records[self._time].cast(pa.int64()),
            "learned_ms": pa.array(np.full(size, self._replica.event_ms, np.int64)),
            "sequence": pa.array(np.full(size, self._replica.sequence, np.int64)),
            "at_ms": pa.array(np.full(size, time_ns() // 1_000_000, np.int64)),
        }
        columns |= {name: pa.array(scores[:, at]) for at, name in enumerate(self._names)}
        return pa.RecordBatch.from_pydict(columns)


def together(rows: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The same rows in as few batches as their schemas allow, in order."""
    found: list[pa.RecordBatch] = []
    for _, run in groupby(rows, key=lambda each: each.schema):
        found += pa.Table.from_batches(run).combine_chunks().to_batches()
    return found
