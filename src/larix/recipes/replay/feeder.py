"""Events into the log, in the order of their times, at a chosen speed, each once however often it is begun anew.

Knows nothing of who reads them.
"""

import threading
from collections.abc import Callable, Iterator
from time import monotonic, time_ns

import numpy as np
import pyarrow as pa

from larix.data import keyed
from larix.data.log import EventLog
from larix.data.unjoin import Slice
from larix.recipes.replay.place import ACTIONS, IMPRESSIONS, SENT

_NAP_S = 0.01
_ROWS = 4096  # of an append: an impression with its histories takes some kilobytes


class Feeder:
    """Sends slices to the topics of impressions and actions, which nobody else may append to.

    Of ``partitions`` each, an event goes to that of its column ``keyed``: what is alike there stays in order. What is in the
    topics already is passed over by count, for the same samples make the same events in the same order.
    ``speed``: event time over wall clock. Without, it waits while ``lag`` says that more than ``ahead`` events lie unread.
    ``sent`` counts the rows of this process. What is sent when is left in a topic of its own: ``until_ms`` of the slice,
    ``at_ms`` of the wall clock, and how many ``rows``.
    """

    def __init__(
        self,
        log: EventLog,
        slices: Iterator[Slice],
        *,
        speed: float | None,
        ahead: int,
        lag: Callable[[], int],
        partitions: int = 1,
        keyed: str | None = None,
    ) -> None:
        self._log, self._slices, self._speed, self._ahead, self._lag = log, slices, speed, ahead, lag
        self._partitions, self._keyed = partitions, keyed
        log.create(SENT)
        for topic in (IMPRESSIONS, ACTIONS):
            log.create(topic, partitions=partitions)
        self._passed = {topic: dict(log.newest(topic).next) for topic in (IMPRESSIONS, ACTIONS)}
        with log.consumer(SENT) as consumer:
            told = sum(sum(events.rows["rows"].to_pylist()) for events in consumer.drain())
        # A process that was killed may have sent what it did not tell of.
        self._untold = sum(sum(passed.values()) for passed in self._passed.values()) - told
        self._began: tuple[float, int] | None = None
        self.sent = 0

    def run(self, stop: threading.Event) -> bool:
        """Send all; whether it came to the end rather than being stopped. StorageError if an append fails."""
        until_ms = 0
        for each in self._slices:
            until_ms = each.until_ms
            parts = [*self._new(IMPRESSIONS, each.impressions), *self._new(ACTIONS, each.actions)]
            rows = sum(len(batch) for _, _, batch in parts)
            if rows and not self._waited(each, stop):
                return False
            for topic, partition, batch in parts:
                for at in range(0, len(batch), _ROWS):
                    self._log.send(topic, batch.slice(at, _ROWS), partition=partition)
            self.sent += rows
            if rows:
                self._tell(until_ms, rows)
        if self._untold:
            self._tell(until_ms, 0)
        self._log.flush()
        return True

    def _tell(self, until_ms: int, rows: int) -> None:
        row = {"until_ms": until_ms, "at_ms": time_ns() // 1_000_000, "rows": rows + self._untold}
        self._log.send(SENT, pa.RecordBatch.from_pylist([row]))
        self._untold = 0

    def _new(self, topic: str, batch: pa.RecordBatch) -> Iterator[tuple[str, int, pa.RecordBatch]]:
        """The rows that are not in the topic's partitions yet, by partition."""
        of = np.zeros(len(batch), np.int64)
        if self._partitions > 1:
            assert self._keyed is not None
            of = keyed.partitions(batch[self._keyed], self._partitions)
        passed = self._passed[topic]
        for partition in np.unique(of).tolist():
            part = batch if self._partitions == 1 else batch.filter(pa.array(of == partition))
            skip = min(passed[partition], len(part))
            passed[partition] -= skip
            yield topic, partition, part.slice(skip)

    def _waited(self, each: Slice, stop: threading.Event) -> bool:
        """Wait until the slice's turn; False if stopped meanwhile."""
        if self._speed is None:
            while self._lag() > self._ahead:
                if stop.wait(_NAP_S):
                    return False
            return not stop.is_set()
        now = monotonic()
        if self._began is None:
            self._began = (now, each.until_ms)
        began, first = self._began
        return not stop.wait(max(0.0, began + (each.until_ms - first) / 1000 / self._speed - now))
