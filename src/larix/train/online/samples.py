"""Where an online run's samples come from, in an order that is the same whenever they are read again.

Knows logs; knows nothing of batches or of training.
"""

from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from larix.data.log import EventLog
from larix.errors import ConfigError
from larix.train.online.batches import READY
from larix.train.online.lane import Lane, merged

RATE = "sample_rate"
_PAUSE_S = 0.001
_FOREVER_S = 1e12


class Samples(Protocol):
    """Samples as they come, with a state that goes into the run's checkpoint."""

    def poll(self, timeout_s: float) -> pa.Table:
        """What there is, or what comes within the time; without rows if nothing did. Bounded, however far behind."""

    def finish(self) -> pa.Table:
        """What is left, a part at a time, then nothing: called when no more will come.

        What was held back for what might have come is handed out, too. Nothing can follow on the state after that.
        """

    @property
    def lag(self) -> int:
        """How much is there and was not handed out yet: samples, or the events that they will be made of."""

    def save(self, folder: Path) -> dict[str, Any]:
        """Where it stands, as JSON values; what is too large for that in a folder of its own below ``folder``.

        Such a folder vouches for its files by a ``manifest.json`` of their checksums. After the samples polled so far.
        """

    def restore(self, said: Mapping[str, Any], folder: Path) -> None:
        """Go on from what ``save`` said and wrote."""

    def close(self) -> None:
        """Let go of files and connections."""


class LoggedSamples:
    """Samples that are ready, in a topic of ``log``: as Flink or ``larix join`` writes them.

    Partitions are merged by the column ``time`` (the latest so far where it falls behind), then by their number: so the
    order is the same however they came. A partition in which nothing comes holds the others back; one partition has no such
    wait. With ``idle_s``, one that was silent for so many seconds of the wall clock is not waited for: what it then brings
    comes after what was handed out, and the order depends on when it came. About ``max_rows`` samples of each are held at
    most. ``rate``: at what rate negatives were kept, to be said of every sample in the column ``RATE``, for training needs it
    of those that were always kept, too: see ``features.Binary``. ``skip_lost``: go on after samples that damage or retention
    took, and count them in ``lost``; otherwise they raise. ``ahead_s``: samples whose ``time`` is more than that after their
    append are left out and counted in ``future``, as `JoinSpec.ahead_s` does with events, so that one of them moves no other's
    time; None: no check. A day by default, for at the end of its input a join is up to its window ahead.
    """

    def __init__(
        self,
        log: EventLog,
        topic: str,
        *,
        time: str = READY,
        max_rows: int = 1 << 14,
        rate: float | None = None,
        idle_s: float | None = None,
        skip_lost: bool = False,
        ahead_s: float | None = 86_400,
    ) -> None:
        if ahead_s is not None and not 0 <= ahead_s < _FOREVER_S:
            raise ConfigError(
                f"ahead_s is {ahead_s}; it is a number of seconds from 0 on, or None for no check"
            )
        if idle_s is not None and not idle_s > 0:
            raise ConfigError(f"idle_s is {idle_s}; it must be above 0, or None to wait for every partition")
        if topic not in log.topics():
            raise ConfigError(f"there is no topic '{topic}' with samples; the log has {sorted(log.topics())}")
        self._log = log
        self._topic = topic
        self._rate = rate
        self._idle_s = idle_s
        self._lanes = [
            Lane(
                log.consumer(topic, partitions=[partition], skip_lost=skip_lost),
                partition,
                time,
                max_rows,
                None if ahead_s is None else round(ahead_s * 1000),
            )
            for partition in range(log.topics()[topic])
        ]

    @property
    def lag(self) -> int:
        """Samples that are there and were not handed out yet."""
        return sum(lane.lag for lane in self._lanes)

    @property
    def lost(self) -> int:
        """Samples passed over since damage or retention took them."""
        return sum(lane.lost for lane in self._lanes)

    @property
    def future(self) -> int:
        """Samples that this process left out for their time is after that of their append."""
        return sum(lane.future for lane in self._lanes)

    def poll(self, timeout_s: float) -> pa.Table:  # noqa: D102
        until = monotonic() + timeout_s
        while True:
            if len(self._lanes) == 1:
                self._lanes[0].read(max(0.0, until - monotonic()))
                return rated(merged(self._lanes, ()), self._rate)
            for lane in self._lanes:
                lane.read(0.0)
            found = merged(self._lanes, [lane for lane in self._lanes if not self._idle(lane)])
            if len(found) or monotonic() >= until:
                return rated(found, self._rate)
            sleep(_PAUSE_S)

    def _idle(self, lane: Lane) -> bool:
        return self._idle_s is not None and lane.silent(self._idle_s)

    def finish(self) -> pa.Table:  # noqa: D102
        while True:
            for lane in self._lanes:
                lane.read(0.0)
            to_come = [lane for lane in self._lanes if lane.lag > lane.held]
            found = merged(self._lanes, to_come)
            if len(found) or not to_come:
                return rated(found, self._rate)

    def save(self, folder: Path) -> dict[str, Any]:  # noqa: D102
        lanes = {str(lane.partition): lane.save() for lane in self._lanes}
        return {"log": self._log.id, "topic": self._topic, "partitions": lanes}

    def restore(self, said: Mapping[str, Any], folder: Path) -> None:  # noqa: D102
        if (said["log"], said["topic"]) != (self._log.id, self._topic):
            raise ConfigError(
                f"the checkpoint stands in topic '{said['topic']}' of log {said['log']}, but samples come from "
                f"'{self._topic}' of log {self._log.id}; give those that it was trained on"
            )
        for lane in self._lanes:
            if (stood := said["partitions"].get(str(lane.partition))) is not None:  # or it was added since
                lane.restore(self._log.id, self._topic, stood)

    def close(self) -> None:  # noqa: D102
        for lane in self._lanes:
            lane.close()


def rated(samples: pa.Table, rate: float | None) -> pa.Table:
    """``samples`` with ``rate`` in the column ``RATE`` of each; None: as they are."""
    if rate is None or not len(samples):
        return samples
    column = pa.array(np.full(len(samples), rate, np.float32))
    at = samples.schema.get_field_index(RATE)
    return samples.append_column(RATE, column) if at < 0 else samples.set_column(at, RATE, column)
