"""How a replay stands, told by the topics of its log alone: whoever reads them, now or later, comes to the same figures.

Knows nothing of the processes that wrote them.
"""

import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.data.log import Consumer, EventLog
from larix.model.metrics import Metrics
from larix.model.metrics.check import Task
from larix.recipes.replay.freshness import Freshness
from larix.recipes.replay.place import ANSWERS, PROGRESS, SENT, TESTED
from larix.recipes.replay.scores import Rows, Scores

_RATE_S = 3.0  # that rates are means of
_RECENT = 2000  # times that the freshness on show is of
_ALARMS = 5
_SPARING = 20  # so many times as long as making the scores took, they are shown as they are


@dataclass(slots=True)
class Standing:
    """What there is to show. Rates are a second of wall clock; ``scores`` is what ``Scores.so_far`` gives."""

    until_ms: int = 0
    event_ms: int = 0
    events: int = 0
    events_per_s: float = 0.0
    samples: int = 0
    samples_per_s: float = 0.0
    answers: int = 0
    lag: int = 0
    step: int = 0
    published: int = 0
    published_rows: int = 0
    saved: int = 0
    held: str = ""
    alarms: list[str] = field(default_factory=list)
    freshness: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0
    fed: bool = False


class Account:
    """Reads what the feeder, the trainer and the follower left, from the beginning and as it comes.

    ``standing`` is brought up to date by `read`. ``lag`` is how many events wait for the trainer, None before it said so.
    """

    def __init__(
        self,
        log: EventLog,
        tasks: Sequence[Task],
        *,
        lateness_ms: int,
        measured: Rows,
        window_ms: int,
        new: Callable[[pa.Array], NDArray[np.bool_]],
    ) -> None:
        self._log, self._tasks, self._measured = log, tuple(tasks), measured
        for topic in (SENT, TESTED, ANSWERS, PROGRESS):
            log.create(topic)
        self._consumers: dict[str, Consumer] = {
            topic: log.consumer(topic) for topic in (SENT, TESTED, ANSWERS, PROGRESS)
        }
        self._scores = Scores(tasks, measured=measured, window_ms=window_ms, new=new)
        self._freshness = Freshness(lateness_ms)
        self._rates = {"events": _Rate(), "samples": _Rate()}
        self._counts: Counter[str] = Counter()
        self._joined: dict[str, Any] = {}
        self.standing = Standing()
        self._due = 0.0  # when the scores may be made again
        self.lag: int | None = None

    def read(self) -> int:
        """Take in what has come; how many rows."""
        rows = 0
        for topic, take in (
            (SENT, self._sent),
            (TESTED, self._tested),
            (ANSWERS, self._answered),
            (PROGRESS, self._progressed),
        ):
            for events in self._consumers[topic].poll(0.0):
                take(events.rows)
                rows += len(events.rows)
        self._freshness.settle()
        now, standing = monotonic(), self.standing
        standing.events_per_s = self._rates["events"].at(now, standing.events)
        standing.samples_per_s = self._rates["samples"].at(now, standing.samples)
        return rows

    def show(self) -> Standing:
        """The standing, with the figures that cost something to make."""
        self.standing.freshness = self._freshness.figures(_RECENT)
        began = monotonic()
        if self._scores.samples and began >= self._due:
            self.standing.scores = self._scores.so_far()
            self._due = monotonic() + _SPARING * (monotonic() - began)
        return self.standing

    def finish(self) -> dict[str, Any]:
        """All that is to be reported, as JSON values."""
        while self.read():
            pass
        return {
            **self._scores.finish(),
            "served": self._served(),
            "freshness": self._freshness.figures() | {"curve": self._freshness.curve()},
            "events": self.standing.events,
            "samples": self.standing.samples,
            "answers": self.standing.answers,
            "published": self.standing.published,
            "published_rows": self.standing.published_rows,
            "alarms": dict(self._counts),
            "join": self._joined,
        }

    def close(self) -> None:
        """Let go of the log's files."""
        for consumer in self._consumers.values():
            consumer.close()

    def _sent(self, rows: pa.RecordBatch) -> None:
        for row in rows.to_pylist():
            self._freshness.sent(row["until_ms"], row["at_ms"])
            self.standing.events += row["rows"]
            self.standing.until_ms = max(self.standing.until_ms, row["until_ms"])

    def _tested(self, rows: pa.RecordBatch) -> None:
        if rows["step"][-1].as_py() > self._scores.step:
            times, counts = np.unique(rows["ready_ms"].to_numpy(), return_counts=True)
            self._freshness.ready(dict(zip(times.tolist(), counts.tolist(), strict=True)))
        self._scores.add(rows)
        self.standing.samples, self.standing.event_ms = self._scores.samples, self._scores.event_ms

    def _answered(self, rows: pa.RecordBatch) -> None:
        self.standing.answers += len(rows) - rows["key"].null_count
        self._freshness.answered(rows["learned_ms"][-1].as_py(), rows["at_ms"][-1].as_py())

    def _progressed(self, rows: pa.RecordBatch) -> None:
        for row in rows.to_pylist():
            what, said = row["what"], json.loads(row["said"])
            if what in ("progress", "lag"):
                self.lag = self.standing.lag = said["lag"]
                self.standing.held = said.get("held", self.standing.held)
                self.standing.step = said.get("step", self.standing.step)
            elif what == "published":
                self.standing.published += said["kind"] == "rows"
                self.standing.published_rows += said["rows"]
            elif what == "saved":
                self.standing.saved += 1
            elif what == "joined":
                self._joined = said
            elif what == "alarm":
                self._counts[said["what"]] += 1
                self.standing.alarms = [*self.standing.alarms, f"{said['what']}: {said['text']}"][-_ALARMS:]

    def _served(self) -> dict[str, Any]:
        """Figures of the answers as they were given, before anything came of their impressions."""
        answers, tests = self._all(ANSWERS), self._all(TESTED)
        if answers is None or tests is None:
            return {}
        wanted = tests.select(
            ["key", "time_ms", "group", "weight", *(f"label.{task.name}" for task in self._tasks)]
        )
        wanted = wanted.filter(pa.array(self._measured(wanted)))
        answers = answers.drop_columns(["time_ms"]).filter(answers["key"].is_valid())
        both = _once(wanted).join(_once(answers), "key", join_type="inner")
        metrics = Metrics(self._tasks)
        if len(both):
            scores, labels = (
                np.stack([both[f"{what}{task.name}"].to_numpy() for task in self._tasks], axis=1)
                for what in ("", "label.")
            )
            metrics.update(scores, labels, both["weight"].to_numpy(), both["group"].to_numpy())
        found = metrics.compute()["tasks"]
        kept = ("kind", "auc", "gauc", "logloss", "calibration", "count")
        return {
            "samples": len(both),
            "tasks": {
                task: {name: each[name] for name in kept if name in each} for task, each in found.items()
            },
        }

    def _all(self, topic: str) -> pa.Table | None:
        with self._log.consumer(topic) as consumer:
            batches = [events.rows for events in consumer.drain()]
        return pa.Table.from_batches(batches) if batches else None


class _Rate:
    """A mean over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, now: float, total: int) -> float:
        self._seen.append((now, total))
        while len(self._seen) > 2 and now - self._seen[0][0] > _RATE_S:
            self._seen.popleft()
        (before, first), span = self._seen[0], now - self._seen[0][0]
        return (total - first) / span if now > before else 0.0


def _once(table: pa.Table) -> pa.Table:
    """The first row of each key."""
    keys = table["key"].combine_chunks().dictionary_encode()
    _, first = np.unique(keys.indices.to_numpy(), return_index=True)
    return table.take(pa.array(np.sort(first)))
