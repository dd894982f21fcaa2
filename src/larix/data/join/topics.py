"""From topics of a log to a topic of samples, without end: each sample is there once, whatever is killed and when.

Samples are part of the state that is saved before they are appended: whoever goes on looks how many of them are there.
"""

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from larix.data.join import saving, store
from larix.data.join.joiner import Joiner
from larix.data.join.spec import JoinSpec
from larix.data.join.stats import JoinStats
from larix.data.log.columns import Column
from larix.data.log.consumer import Consumer
from larix.data.log.lease import Lease
from larix.data.log.log import EventLog
from larix.data.log.offsets import Offsets
from larix.data.write import sync
from larix.errors import ConfigError, StorageError

_NAME = re.compile(r"state-(\d{10})")
_SAMPLES = "samples.arrow"
_JOIN = "join"
_ROWS = 1 << 13  # samples of an append


class Joined(NamedTuple):
    """What became of events: counts since the join began, and by reason those of this run that went to dead-letter topics."""

    stats: JoinStats
    dead: Counter[str]


@dataclass(frozen=True, kw_only=True)
class Topics:
    """What is joined into what.

    Args:
        log: where the topics are.
        spec: of the join; its topics are there.
        out: the topic of samples, of one partition that nobody else appends to; made if it is not there.
        folder: of the join's state, on the disk of nobody else.
        every_s: how often state is saved and samples are appended.
        memory_budget: of the joiner.
        columns: what events of topics must be, see `check_columns`. None: whatever they are.
    """

    log: EventLog
    spec: JoinSpec
    out: str
    folder: Path
    every_s: float = 1.0
    memory_budget: int = 256 << 20
    columns: Mapping[str, Sequence[Column]] | None = None

    def run(self, *, end: bool, stop: Callable[[], bool]) -> Joined:
        """Join what comes until ``stop``; go on where an earlier run was, however that ended.

        Args:
            end: the input is complete: join what is there, give out what is left, and return.
            stop: asked a few times a second.

        Raises:
            ConfigError: a topic is missing, the columns lack one of the join's, or the state is of another spec or log.
            LeaseError: another process joins in this folder.
            StorageError: there is no space, or the state is damaged.
        """
        check_columns(self.spec, self.columns)
        there = self.log.topics()
        if missing := sorted(set(self.spec.topics) - there.keys()):
            raise ConfigError(f"there is no topic '{missing[0]}' to join; there are {sorted(there)}")
        if self.out in self.spec.topics:
            raise ConfigError(f"samples cannot go to topic '{self.out}', which the join reads; name another")
        if there.get(self.out, 1) != 1:
            raise ConfigError(
                f"topic '{self.out}' has {there[self.out]} partitions; samples need one of one partition"
            )
        self.log.create(self.out)
        self.folder.mkdir(parents=True, exist_ok=True)
        with Lease(self.folder / "lease", f"the join in '{self.folder}'"):
            running = _Running(self)
            try:
                running.go_on(end=end, stop=stop)
            finally:
                running.close()
            return Joined(running.joiner.stats, running.dead)


def check_columns(spec: JoinSpec, columns: Mapping[str, Sequence[Column]] | None) -> None:
    """``columns``, by topic, are what events are read as, as `EventLog.consumer` takes them.

    Raises:
        ConfigError: one is of a topic that the join does not read, or the join needs one that is not there.
    """
    for topic, some in (columns or {}).items():
        if topic not in spec.topics:
            raise ConfigError(
                f"columns are given of topic '{topic}', but the join reads {sorted(spec.topics)}"
            )
        given = {column.name for column in some}
        for name, kind in spec.kinds.items():
            value = getattr(kind, "value", None)
            needed = {kind.key, kind.time, kind.event_id, *kind.where, *([] if value is None else [value])}
            if kind.topic == topic and (missing := sorted(needed - given)):
                raise ConfigError(
                    f"the columns of topic '{topic}' lack '{missing[0]}', by which the join tells '{name}'; add it"
                )


def unread(spec: JoinSpec, consumers: Mapping[str, Consumer]) -> list[tuple[str, int]]:
    """The topics and partitions of which there is more than was handed out, where the spec has idle ones passed over."""
    if spec.idle_s is None:
        return []  # nobody needs to know, and brokers would have to be asked
    return [(topic, partition) for topic, consumer in consumers.items() for partition in consumer.behind]


class _Running:
    def __init__(self, topics: Topics) -> None:
        self._topics, self._log = topics, topics.log
        for stale in topics.folder.glob(".*"):
            shutil.rmtree(stale)
        saved = _states(topics.folder)
        self._number = 0 if not saved else int(saved[-1].name.removeprefix("state-"))
        options: dict[str, Any] = {"memory_budget": topics.memory_budget, "spill": topics.folder / "work"}
        starts: dict[str, Offsets] = {}
        if saved:
            state = saving.read(saved[-1])
            starts = {topic: Offsets.from_json(at) for topic, at in state["positions"].items()}
            self.joiner = Joiner.load(topics.spec, saved[-1] / _JOIN, **options)
        else:
            partitions = {topic: self._log.topics()[topic] for topic in topics.spec.topics}
            self.joiner = Joiner(topics.spec, partitions=partitions, **options)
        self._consumers: dict[str, Consumer] = {}
        try:
            for topic in topics.spec.topics:
                start = starts.get(topic, self._log.oldest(topic))
                columns = (topics.columns or {}).get(topic)
                self._consumers[topic] = self._log.consumer(topic, start=start, columns=columns)
            if saved:
                self._append_the_rest(saved[-1], state)
        except BaseException:
            self.close()
            raise

    @property
    def dead(self) -> Counter[str]:
        return sum((consumer.dead for consumer in self._consumers.values()), Counter())

    def go_on(self, *, end: bool, stop: Callable[[], bool]) -> None:
        """Join until it is over, and save."""
        due, samples, taken = time.monotonic() + self._topics.every_s, [], False
        while not stop():
            events = [found for consumer in self._consumers.values() for found in consumer.poll()]
            taken |= bool(events)
            samples.append(self.joiner.push(events, behind=unread(self._topics.spec, self._consumers)))
            if not events:
                if end and not any(consumer.lag for consumer in self._consumers.values()):
                    samples.append(self.joiner.finish())
                    break
                time.sleep(min(0.01, self._topics.every_s))
            if time.monotonic() >= due:
                if taken:
                    self._save(samples)
                    samples, taken = [], False
                due = time.monotonic() + self._topics.every_s
        self._save(samples)

    def close(self) -> None:
        for consumer in self._consumers.values():
            consumer.close()
        self.joiner.close()

    def _save(self, tables: list[pa.Table]) -> None:
        """Save the state with the samples that it gave, then append them."""
        tables = [each for each in tables if len(each)]
        # The last of them knows all columns.
        table = pa.concat_tables(tables, promote_options="permissive") if tables else None
        folder, fresh = self._topics.folder, self._topics.folder / ".fresh"
        try:
            fresh.mkdir()
            self.joiner.save(fresh / _JOIN)
            state: dict[str, Any] = {
                "positions": {topic: each.position.to_json() for topic, each in self._consumers.items()},
                "out": self._log.newest(self._topics.out).to_json(),
                "samples": None,
            }
            if table is not None:
                batch = table.combine_chunks().to_batches()[0]
                state["samples"] = store.write(fresh / _SAMPLES, batch).to_json()
            saving.seal(fresh, state)
            self._number += 1
            target = folder / f"state-{self._number:010}"
            fresh.rename(target)
            sync(folder)
        except OSError as error:
            shutil.rmtree(fresh, ignore_errors=True)
            raise StorageError(f"'{folder}' cannot be written: {error.strerror}; free some space") from error
        if table is not None:
            self._append(batch)
        for old in _states(folder)[:-1]:
            shutil.rmtree(old)

    def _append_the_rest(self, folder: Path, state: dict[str, Any]) -> None:
        """Append what a run that ended in between did not."""
        if state["samples"] is None:
            return
        path = folder / _SAMPLES
        try:
            damaged = store.checksum(path) != (state["samples"]["size"], state["samples"]["crc"])
        except OSError as error:
            raise store.damaged(path, error.strerror or "it cannot be read") from error
        if damaged:
            raise store.damaged(path, "it does not match its checksum")
        with self._log.consumer(self._topics.out, start=Offsets.from_json(state["out"])) as there:
            rows = sum(len(found.rows) for found in there.drain())
        self._append(store.read(path).slice(rows))

    def _append(self, samples: pa.RecordBatch) -> None:
        for first in range(0, len(samples), _ROWS):
            self._log.send(self._topics.out, samples.slice(first, _ROWS))
        self._log.flush()


def _states(folder: Path) -> list[Path]:
    """The whole ones, the oldest first."""
    return sorted(path for path in folder.glob("state-*") if _NAME.fullmatch(path.name))
