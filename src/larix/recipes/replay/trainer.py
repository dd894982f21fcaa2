"""The part of a replay that learns: joins events to samples, tests and trains on them, publishes, and leaves word of it.

Knows nothing of who sends events, who follows, or how the replay is shown.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import monotonic, time_ns
from typing import Any

import pyarrow as pa
import torch

from larix.data.join import JoinSpec
from larix.data.log import DiskLog, EventLog
from larix.recipes.online import network
from larix.recipes.replay import scores
from larix.recipes.replay.place import DELTAS, PROGRESS, TESTED, Place
from larix.recipes.replay.worker import Control
from larix.recipes.run import live_of, open_run, recipe_of
from larix.train.online import (
    Alarm,
    Deltas,
    JoinedSamples,
    Progress,
    Published,
    Samples,
    Saved,
    Tested,
    Watcher,
    online,
)

_TELL_S = 0.2


def train(folder: Path, control: Control) -> None:
    """Train until told that no more will come, or to stop."""
    place = Place(folder)
    told = place.told()
    torch.set_num_threads(told.threads)
    frozen, config = open_run(Path(told.run))
    recipe = recipe_of(config)
    live = live_of(recipe)
    spec = JoinSpec.from_json(told.join)
    with DiskLog(place.log) as log:
        names = [task.name for task in frozen.sample.tasks]
        teller = Teller(log, names, identity=told.identity, time=spec.impressions.time, item=live.item)
        samples = JoinedSamples(log, spec)
        outcome = online(
            frozen,
            Polled(samples, teller, control.ready),
            place.online,
            ranker=lambda sample: network(recipe, sample),
            dense=recipe.dense,
            settings=live.settings,
            deltas=Deltas(log=log, topic=DELTAS),
            against=frozen,
            watcher=teller,
            stop=control.stop,
            until=lambda: control.end.is_set() and not samples.lag,
        )
        teller.say("joined", samples.stats.to_json())
        teller.say("ended", asdict(outcome) | {"folder": None})


class Teller(Watcher):
    """What the trainer leaves in the log: a row a sample in the topic of tests, and now and then how it stands.

    Rows of progress are ``what``, ``time_ms`` of the wall clock and ``said``, JSON.
    """

    def __init__(
        self, log: EventLog, tasks: Sequence[str], *, identity: Sequence[str], time: str, item: str
    ) -> None:
        for topic in (TESTED, PROGRESS):
            log.create(topic)
        self._log, self._tasks = log, tasks
        self._identity, self._time, self._item = identity, time, item
        self._last: dict[str, float] = {}

    def tested(self, tested: Tested) -> None:
        """Leave labels and scores."""
        rows = scores.record(tested, self._tasks, identity=self._identity, time=self._time, item=self._item)
        self._log.send(TESTED, rows)

    def progressed(self, progress: Progress) -> None:
        """Say so, a few times a second."""
        self.seldom("progress", asdict(progress))

    def published(self, published: Published) -> None:
        """Say so."""
        self.say("published", asdict(published))

    def saved(self, saved: Saved) -> None:
        """Say so."""
        self.say("saved", {"step": saved.step, "seconds": saved.seconds})

    def alarmed(self, alarm: Alarm) -> None:
        """Say so."""
        self.say("alarm", asdict(alarm))

    def seldom(self, what: str, said: Mapping[str, Any]) -> None:
        """Say it, unless that was said a moment ago."""
        now = monotonic()
        if now - self._last.get(what, -_TELL_S) >= _TELL_S:
            self._last[what] = now
            self.say(what, said)

    def say(self, what: str, said: Mapping[str, Any]) -> None:
        """Leave word."""
        row = {"what": what, "time_ms": time_ns() // 1_000_000, "said": json.dumps(said)}
        self._log.send(PROGRESS, pa.RecordBatch.from_pylist([row]))


class Polled(Samples):
    """Samples as they come, with word of how many events wait, for whoever sends them may have to wait, too.

    ``first`` is called when they are asked for first.
    """

    def __init__(self, samples: Samples, teller: Teller, first: Callable[[], None]) -> None:
        self._samples, self._teller, self._first = samples, teller, [first]

    @property
    def lag(self) -> int:  # noqa: D102
        return self._samples.lag

    def poll(self, timeout_s: float) -> pa.Table:  # noqa: D102
        if self._first:
            self._first.pop()()
        found = self._samples.poll(timeout_s)
        self._teller.seldom("lag", {"lag": self._samples.lag})
        return found

    def finish(self) -> pa.Table:  # noqa: D102
        return self._samples.finish()

    def save(self, folder: Path) -> dict[str, Any]:  # noqa: D102
        return self._samples.save(folder)

    def restore(self, said: Mapping[str, Any], folder: Path) -> None:  # noqa: D102
        self._samples.restore(said, folder)

    def close(self) -> None:  # noqa: D102
        self._samples.close()
