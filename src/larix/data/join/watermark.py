"""How far event time has come, by partition and as a whole, and what is late. Knows nothing of what events are."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from larix.data.join.spec import END, NEVER, JoinSpec

Ints = NDArray[np.int64]
Partition = tuple[str, int]


class Watermark:
    """The least of what all partitions have come to, less the lateness; it never falls.

    ``value`` is None before every partition has had an event. A partition that has been silent for ``idle_s`` of wall clock
    is not asked, unless it is known that there is more of it.
    """

    def __init__(
        self, spec: JoinSpec, partitions: Mapping[str, int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.value: int | None = None
        self._lateness, self._idle_s, self._clock = spec.lateness_ms, spec.idle_s, clock
        started = clock()
        self._heard = {(topic, each): started for topic, count in partitions.items() for each in range(count)}
        self._newest: dict[Partition, int] = {}

    def bounds(self, topic: str, appends: Sequence[tuple[int, int]], times: Ints) -> Ints:
        """Take the times of events in order; give for each the time before which it would be late on its arrival.

        Args:
            topic: whose.
            appends: the partition and the number of events of each append, one after another.
            times: of each event; a negative one counts as none.
        """
        now, floor = self._clock(), NEVER if self.value is None else self.value
        bounds = np.empty(len(times) + 1, np.int64)
        begin = 0
        for partition, count in appends:
            self._heard[topic, partition] = now
            newest = self._newest.get((topic, partition), NEVER)
            # Each row sees the newest before it; the last sum is what the next append of the partition sees.
            running = bounds[begin : begin + count + 1]
            running[0] = newest
            running[1:] = times[begin : begin + count]
            np.maximum.accumulate(running, out=running)
            if running[-1] >= 0:
                self._newest[topic, partition] = int(running[-1])
            begin += count
        bounds = bounds[:-1] - self._lateness
        return np.maximum(bounds, floor, out=bounds)

    def advance(self, behind: Iterable[Partition] = ()) -> None:
        """Let the events taken so far count. Of partitions ``behind`` there are more, not read yet: they are not silent."""
        heard = [*self._heard]
        if self._idle_s is not None:
            now = self._clock()
            for partition in behind:
                self._heard[partition] = now
            since = now - self._idle_s
            heard = [partition for partition, at in self._heard.items() if at > since]
        if heard and all(partition in self._newest for partition in heard):
            least = min(self._newest[partition] for partition in heard) - self._lateness
            self.value = least if self.value is None else max(self.value, least)

    def end(self) -> None:
        """There are no more events to wait for, until `go_on`."""
        self.value = END

    def go_on(self) -> None:
        """What was there before the end is over, and what comes later than all of it counts again."""
        self.value = max(self._newest.values()) + 1 if self._newest else None

    def to_json(self) -> dict[str, Any]:
        """What `json.dumps` takes and `restore` reads. When a partition was last heard is not part of it."""
        newest = [[topic, partition, at] for (topic, partition), at in sorted(self._newest.items())]
        return {"value": self.value, "newest": newest}

    def restore(self, said: Mapping[str, Any]) -> None:
        """Be where `to_json` was said."""
        self.value = said["value"]
        self._newest = {(topic, partition): at for topic, partition, at in said["newest"]}
