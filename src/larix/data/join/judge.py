"""Which events count: on time, with all they need, and not here before. The others are counted by reason."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from larix.data.join.arrivals import Arrivals, Keys
from larix.data.join.seen import Seen
from larix.data.join.spec import Action, Impressions, JoinSpec, Value
from larix.data.join.stats import Fate, JoinStats
from larix.data.join.watermark import Watermark

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Accepted(NamedTuple):
    """Events of one kind: their rows and the times of those; keys, ids and times of all rows of the topic."""

    kind: Impressions | Action
    rows: Ints
    times: Ints
    keys: Keys
    ids: Keys
    all_times: Ints


class Judge:
    """Knows what was accepted before."""

    def __init__(self, spec: JoinSpec, watermark: Watermark) -> None:
        self._spec, self._watermark = spec, watermark
        self._seen = {name: Seen(spec.lateness_ms) for name in spec.kinds}

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return sum(seen.nbytes for seen in self._seen.values())

    def judge(self, topic: str, events: Arrivals, stats: JoinStats) -> Iterator[Accepted]:
        """What is accepted of a topic's events, by kind."""
        spec = self._spec
        times = events.times(spec.topics[topic])
        future: Mask | None = None
        if spec.ahead_ms is not None and (ahead := times > events.appended + spec.ahead_ms).any():
            future = ahead
        bounds = self._watermark.bounds(
            topic, events.appends, times if future is None else np.where(future, -1, times)
        )
        # A time that cannot be read is -1. No bound may be above it when there was no event before.
        usual = times >= np.maximum(bounds, 0)
        if future is not None:
            usual &= ~future
        passed_over = np.ones(len(events), bool)
        for name, kind in spec.kinds.items():
            if kind.topic == topic:
                ours = self._of_kind(events, kind.where)
                passed_over &= ~ours
                yield self._accepted(
                    name, kind, events, ours, usual, times, bounds, future, stats.kinds[name]
                )
        stats.passed_over[topic] += int(np.count_nonzero(passed_over))

    def spill(self, folder: Path) -> int:
        """Move some of it to the disk; return the bytes set free, 0 if there is nothing to move."""
        return next((freed for seen in self._seen.values() if (freed := seen.spill(folder))), 0)

    def remember(self, name: str, ids: Ints, times: Ints) -> None:
        """Events of a kind that were accepted before."""
        self._seen[name].remember(ids, times)

    def forget(self, watermark: int) -> None:
        """Events before it are late whoever they are."""
        for seen in self._seen.values():
            seen.forget(watermark)

    def _of_kind(self, events: Arrivals, where: Mapping[str, Value]) -> Mask:
        ours: Mask = np.ones(len(events), bool)
        for column, value in where.items():
            ours &= events.matches(column, value)
        return ours

    def _accepted(
        self,
        name: str,
        kind: Impressions | Action,
        events: Arrivals,
        ours: Mask,
        usual: Mask,
        times: Ints,
        bounds: Ints,
        future: Mask | None,
        fate: Fate,
    ) -> Accepted:
        keys, ids = events.keys(kind.key, self._spec.keys), events.keys(kind.event_id, self._spec.ids)
        whole = keys.good & ids.good
        rows = np.flatnonzero(ours & usual & whole)
        rest = int(np.count_nonzero(ours)) - len(rows)
        if rest:
            whole &= times >= 0
            fate.null += (null := int(np.count_nonzero(ours & ~whole)))
            ahead = 0 if future is None else int(np.count_nonzero(ours & whole & future))
            fate.future += ahead
            fate.late += rest - null - ahead
        at = times[rows]
        fresh = self._seen[name].admit(ids.hashes[rows], at, bounds[rows])
        if not fresh.all():
            fate.duplicate += len(rows) - int(np.count_nonzero(fresh))
            rows, at = rows.compress(fresh), at.compress(fresh)
        fate.accepted += len(rows)
        return Accepted(kind, rows, at, keys, ids, times)
