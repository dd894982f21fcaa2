"""One partition's samples on their way to be merged with others', by their times. Knows nothing of what samples hold."""

from collections import deque
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.data.log import Consumer, Events, Offsets
from larix.train.online.alike import Kinds, clash, kinds, plain
from larix.train.online.batches import milliseconds


class Append(NamedTuple):
    """Rows of one append with their times, never falling; ``taken`` of them have been handed out.

    ``places``: where they were in the append, of which some were left out; None: all are here.
    """

    offset: int
    rows: pa.RecordBatch
    times: NDArray[np.int64]
    taken: int
    places: NDArray[np.int64] | None = None

    @property
    def left(self) -> int:
        """Rows not handed out."""
        return len(self.rows) - self.taken

    @property
    def next(self) -> int:
        """Where the next row to hand out was in the append."""
        return self.taken if self.places is None else int(self.places[self.taken])


class Until(NamedTuple):
    """Samples yet to come in ``partition``, none of them of a time before ``time``."""

    time: int
    partition: int


class Lane:
    """Reads ahead in one partition. ``reached``: no sample before that time will come. Samples of more than ``ahead_ms`` after
    their append are left out, and counted in ``future``.
    """

    def __init__(
        self, consumer: Consumer, partition: int, time: str, max_rows: int, ahead_ms: int | None = None
    ) -> None:
        self.partition = partition
        self.reached = 0
        self.future = 0
        self._ahead_ms = ahead_ms
        self._handed = 0  # the time of what was handed out last
        self._consumer = consumer
        self._time = time
        self._max_rows = max_rows
        self._held: deque[Append] = deque()
        self._skip = 0  # rows of the next append that were handed out before a restart
        self._heard, self._idle = monotonic(), False

    @property
    def held(self) -> int:
        """Rows read and not handed out."""
        return sum(append.left for append in self._held)

    @property
    def lag(self) -> int:
        """Rows that are there and were not handed out."""
        return self.held + self._consumer.lag

    @property
    def lost(self) -> int:
        """Rows that damage or retention took."""
        return self._consumer.lost

    def silent(self, for_s: float) -> bool:
        """Whether nothing has come for so many seconds of the wall clock, and all that did was handed out."""
        now = monotonic()
        if not self._held and not self._idle and now - self._heard >= for_s:
            self._idle = not self._consumer.lag
            self._heard = now  # brokers are not asked again before as long has passed
        return self._idle and not self._held

    def read(self, timeout_s: float) -> None:
        """Hold more of what there is, if there is room."""
        if self.held >= self._max_rows:
            return
        for events in self._consumer.poll(timeout_s, max_rows=self._max_rows - self.held):
            append = self._append(events, self._skip)
            self._skip = 0
            self._heard, self._idle = monotonic(), False
            if len(append.rows):
                self.reached = int(append.times[-1])
            if append.left:
                self._held.append(append)

    def _append(self, events: Events, skip: int) -> Append:
        """An append's rows but for those of the future; ``skip`` of all have been handed out."""
        rows, columns = events.rows, events.rows.schema.get_all_field_indices(self._time)
        times = np.zeros(len(rows), np.int64)
        if columns:
            times = milliseconds(pa.chunked_array([rows.column(columns[0])]))
        places = None
        if self._ahead_ms is not None and (future := times > events.time_ms + self._ahead_ms).any():
            self.future += int(np.count_nonzero(future[skip:]))
            places = np.flatnonzero(~future)
            rows, times, skip = rows.take(pa.array(places)), times[places], int(np.searchsorted(places, skip))
        times = np.maximum.accumulate(np.maximum(times, self.reached))
        return Append(events.offset, rows, times, skip, places)

    def ready(self, until: Until | None) -> "list[Part]":
        """The rows that come before all that ``until`` stands for; None: all. They stay here."""
        found = []
        # What comes in the same partition comes after, in a later one, too, even if it is of the same time.
        side: Literal["left", "right"] = "right" if until and self.partition <= until.partition else "left"
        for append in self._held:
            end = len(append.rows)
            if until is not None:
                end = int(np.searchsorted(append.times, until.time, side=side))
            if end > append.taken:
                some = slice(append.taken, end)
                found.append(Part(self, append.rows[some], append.times[some]))
            if end < len(append.rows):
                break
        return found

    def hand_out(self, count: int) -> None:
        """The first ``count`` rows are with somebody else now."""
        while count:
            append = self._held[0]
            taken = min(append.taken + count, len(append.rows))
            count -= taken - append.taken
            self._handed = int(append.times[taken - 1])
            if taken < len(append.rows):
                self._held[0] = append._replace(taken=taken)
            else:
                self._held.popleft()

    def save(self) -> dict[str, Any]:
        """Where it stands after what was handed out, once no power cut can take that back."""
        following = self._consumer.position.next[self.partition]
        if not self._held:
            return {"offset": following, "skip": self._skip, "time": self._handed}
        return {"offset": self._held[0].offset, "skip": self._held[0].next, "time": self._handed}

    def restore(self, log: str, topic: str, said: dict[str, Any]) -> None:
        """Go on there."""
        self._consumer.seek(Offsets(log=log, topic=topic, next={self.partition: said["offset"]}))
        self._held.clear()
        self._skip = said["skip"]
        self.reached = self._handed = said["time"]

    def close(self) -> None:
        """Let go of the partition's files."""
        self._consumer.close()


class Part(NamedTuple):
    """Rows of one append that a lane holds, with their times."""

    lane: Lane
    rows: pa.RecordBatch
    times: NDArray[np.int64]


def merged(lanes: Sequence[Lane], yet: Sequence[Lane]) -> pa.Table:
    """Take what the lanes, in order of partitions, have before all that may come in ``yet``: by time, then by partition, then
    as it came.

    Whoever of ``yet`` has come least far can hand out all that it holds, so a lane that is full is never waited for. Before an
    append whose columns are of other types than those before it, there is an end, too: the next call goes on with it.
    """
    until = min((Until(lane.reached, lane.partition) for lane in yet), default=None)
    parts = [part for lane in lanes for part in lane.ready(until)]
    if not parts:
        return pa.table({})
    tables = [part.rows for part in parts]
    first = parts[0].rows.schema
    if len(set(first.names)) < len(first) or any(part.rows.schema != first for part in parts):
        parts = _alike(parts)
        tables = [plain(part.rows) for part in parts]
    table = pa.concat_tables([pa.Table.from_batches([rows]) for rows in tables], promote_options="permissive")
    for part in parts:
        part.lane.hand_out(len(part.rows))
    if len(lanes) == 1:
        return table
    return table.take(np.argsort(np.concatenate([part.times for part in parts]), kind="stable"))


def _alike(parts: Sequence[Part]) -> list[Part]:
    """The rows that come before the first append of other types."""
    held: Kinds = {}
    for odd in sorted(parts, key=lambda part: (part.times[0], part.lane.partition)):
        mine = kinds(odd.rows)
        if clash(held, mine):
            return [*_before(odd, parts)]
        held |= mine
    return [*parts]


def _before(odd: Part, parts: Sequence[Part]) -> Iterator[Part]:
    past = False
    for part in parts:
        past |= part is odd
        if part.lane is odd.lane:
            end = 0 if past else len(part.rows)
        else:
            side: Literal["left", "right"] = "right" if part.lane.partition < odd.lane.partition else "left"
            end = int(np.searchsorted(part.times, odd.times[0], side=side))
        if end:
            yield Part(part.lane, part.rows[:end], part.times[:end])
