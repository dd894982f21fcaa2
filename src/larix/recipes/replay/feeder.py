"""Events into the log, in the order of their times, at a chosen speed, each once however often it is begun anew.

Knows nothing of who reads them.
"""

import threading
from collections.abc import Callable, Iterator
from time import monotonic, time_ns

import pyarrow as pa

from larix.data.log import EventLog
from larix.data.unjoin import Slice
from larix.recipes.replay.place import ACTIONS, IMPRESSIONS, SENT

_NAP_S = 0.01
_ROWS = 4096  # of an append: an impression with its histories takes some kilobytes


class Feeder:
    """Sends slices to the topics of impressions and actions, one partition each, which nobody else may append to.

    What is in the topics already is passed over by count, for the same samples make the same events in the same order.
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
    ) -> None:
        self._log, self._slices, self._speed, self._ahead, self._lag = log, slices, speed, ahead, lag
        for topic in (IMPRESSIONS, ACTIONS, SENT):
            log.create(topic)
        self._passed = {topic: log.newest(topic).next[0] for topic in (IMPRESSIONS, ACTIONS)}
        self._began: tuple[float, int] | None = None
        self.sent = 0

    def run(self, stop: threading.Event) -> bool:
        """Send all; whether it came to the end rather than being stopped. StorageError if an append fails."""
        for each in self._slices:
            batches = {
                IMPRESSIONS: self._new(IMPRESSIONS, each.impressions),
                ACTIONS: self._new(ACTIONS, each.actions),
            }
            rows = sum(len(batch) for batch in batches.values())
            if rows and not self._waited(each, stop):
                return False
            for topic, batch in batches.items():
                for at in range(0, len(batch), _ROWS):
                    self._log.send(topic, batch.slice(at, _ROWS))
            self.sent += rows
            if rows:
                row = {"until_ms": each.until_ms, "at_ms": time_ns() // 1_000_000, "rows": rows}
                self._log.send(SENT, pa.RecordBatch.from_pylist([row]))
        self._log.flush()
        return True

    def _new(self, topic: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        skip = min(self._passed[topic], len(batch))
        self._passed[topic] -= skip
        return batch.slice(skip)

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
