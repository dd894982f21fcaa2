"""Samples joined in the trainer's own process: events in, samples out, and one state for both.

Knows logs and the joiner; knows nothing of batches or of training.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pyarrow as pa

from larix.data.join import Joiner, JoinSpec, JoinStats
from larix.data.join.topics import check_columns, unread
from larix.data.log import Column, EventLog, Events, Offsets
from larix.errors import ConfigError
from larix.train.online.samples import rated

_FOLDER = "joiner"
_PAUSE_S = 0.001


class JoinedSamples:
    """The samples of ``spec`` out of the events in ``log``, in the same order whenever they are joined: see ``data.join``.

    ``memory_budget`` and ``spill``: of the join's state, see ``Joiner``. At most about ``max_rows`` events are taken at a time.
    ``skip_lost``: go on after events that damage or retention took; otherwise they raise. ``columns``: of topics' events, as
    `EventLog.consumer` takes them: those that cannot be had so become dead letters and are counted in ``dead``, by reason;
    ConfigError if they lack one that the join needs.
    Of topics that are not named all columns are carried, and one with a single fraction in it is of fractions from then on.
    """

    def __init__(
        self,
        log: EventLog,
        spec: JoinSpec,
        *,
        memory_budget: int = 256 << 20,
        spill: Path | None = None,
        max_rows: int = 1 << 14,
        skip_lost: bool = False,
        columns: Mapping[str, Sequence[Column]] | None = None,
    ) -> None:
        topics = log.topics()
        if missing := sorted(set(spec.topics) - set(topics)):
            raise ConfigError(
                f"the join reads topics {missing}, which the log has not; it has {sorted(topics)}"
            )
        check_columns(spec, columns)
        self.spec = spec
        # A joiner says the rate of negatives alone, but training needs it of all: see features.Binary.
        self._rate = None if spec.negatives is None else spec.negatives.rate
        self._log = log
        self._max_rows = max_rows
        self._settings: dict[str, Any] = {"memory_budget": memory_budget, "spill": spill}
        self._consumers = {
            topic: log.consumer(topic, columns=(columns or {}).get(topic), skip_lost=skip_lost)
            for topic in spec.topics
        }
        partitions = {topic: topics[topic] for topic in spec.topics}
        self._joiner = Joiner(spec, partitions=partitions, **self._settings)
        self._taken: list[Events] = []  # out of the log, and not joined: only while something fails

    @property
    def stats(self) -> JoinStats:
        """What the join has counted."""
        return self._joiner.stats

    @property
    def watermark(self) -> int | None:
        """The join's: all events before it have come."""
        return self._joiner.watermark

    @property
    def lag(self) -> int:
        """Events that are there and were not joined yet."""
        return sum(consumer.lag for consumer in self._consumers.values())

    @property
    def lost(self) -> int:
        """Events passed over since damage or retention took them."""
        return sum(consumer.lost for consumer in self._consumers.values())

    @property
    def dead(self) -> Counter[str]:
        """Events of this process that went to dead-letter topics, by reason."""
        return sum((consumer.dead for consumer in self._consumers.values()), Counter())

    def poll(self, timeout_s: float) -> pa.Table:
        """Samples that became final by the events that came within the time; perhaps none."""
        until = monotonic() + timeout_s
        while True:
            for consumer in self._consumers.values():
                self._taken += consumer.poll(0.0, max_rows=self._max_rows)
            if self._taken or monotonic() >= until:
                found = self._joiner.push(self._taken, behind=unread(self.spec, self._consumers))
                self._taken.clear()
                return rated(found, self._rate)
            sleep(_PAUSE_S)

    def finish(self) -> pa.Table:
        """Samples of the events that are left, a part at a time; then those that more events could still have changed."""
        while self.lag or self._taken:
            if len(found := self.poll(0.0)):
                return found
        return rated(self._joiner.finish(), self._rate)

    def save(self, folder: Path) -> dict[str, Any]:  # noqa: D102
        self._joiner.save(folder / _FOLDER)
        positions = {topic: consumer.position for topic, consumer in self._consumers.items()}
        for events in reversed(self._taken):  # to the first of each partition
            stands = positions[events.topic]
            positions[events.topic] = replace(stands, next={**stands.next, events.partition: events.offset})
        return {"offsets": [position.to_json() for position in positions.values()]}

    def restore(self, said: Mapping[str, Any], folder: Path) -> None:  # noqa: D102
        for each in map(Offsets.from_json, said["offsets"]):
            if each.topic not in self._consumers:
                raise ConfigError(
                    f"the checkpoint stands in topic '{each.topic}', which this join does not read"
                )
            self._consumers[each.topic].seek(each)
        self._taken.clear()
        self._joiner.close()  # it may have the folder that the state is moved to
        self._joiner = Joiner.load(self.spec, folder / _FOLDER, **self._settings)

    def close(self) -> None:
        """Let go of the log and of the join's folder."""
        self._joiner.close()
        for consumer in self._consumers.values():
            consumer.close()
