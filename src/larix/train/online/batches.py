"""Samples cut into batches, by their number and their times alone: the same batches whenever they are read again.

Knows nothing of where samples come from or of what is learned from them.
"""

from collections.abc import Container, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.train.online.alike import first_clash, together

READY = "ready_ms"  # the event time at which a sample was final, where a joiner says it

_TIMES = "times of the cutter"


class Cut(NamedTuple):
    """A batch, and the latest event time up to its end."""

    records: pa.RecordBatch
    event_ms: int


class Cutter:
    """Holds samples until a batch is full, or the next is more than ``span_ms`` of event time after the batch's first, or has
    a value in a column that is of another type in the batch: text among whole numbers. So a strange sample costs nobody else.

    Only ``columns`` are kept; one that is not there is null. Times are those of ``READY`` if there is that column, else of
    ``time``; none at all cuts by number alone. A time that falls behind, or is null, counts as the latest so far.
    ``ids``: columns in which 7 and 7.5 are of two types.
    """

    def __init__(
        self, columns: Sequence[str], time: str | None, size: int, span_ms: float, *, ids: Container[str] = ()
    ) -> None:
        self._columns = tuple(dict.fromkeys((*columns, READY)))
        self._time = time
        self._size = size
        self._span_ms = span_ms
        self._ids = ids
        self._parts: list[pa.Table] = []
        self._times: NDArray[np.int64] = np.zeros(0, np.int64)
        self.latest = 0

    @property
    def pending(self) -> int:
        """How many samples are held."""
        return len(self._times)

    def push(self, samples: pa.Table) -> None:
        """Hold ``samples``, too."""
        if not len(samples):
            return
        part = pa.table(
            {
                name: samples[name] if name in samples.column_names else pa.nulls(len(samples))
                for name in self._columns
            }
        )
        if self._parts and self._parts[-1].schema == part.schema:
            part = pa.concat_tables([self._parts.pop(), part])
        self._parts.append(part)
        self._times = np.concatenate([self._times, self._running(samples)])

    def pop(self) -> Cut | None:
        """The next batch, if it has come to its end."""
        count = len(self._times)
        if not count:
            return None
        near = int(np.searchsorted(self._times[: self._size], self._times[0] + self._span_ms, side="right"))
        end = first_clash(self._first(near), self._ids)
        return self._cut(end) if end == self._size or end < count else None

    def rest(self) -> Cut | None:
        """What is held when no more will come."""
        some = self._first(self._size)
        return self._cut(first_clash(some, self._ids)) if some else None

    def save(self) -> tuple[dict[str, Any], bytes]:
        """All that is held, as JSON values and Arrow streams, one behind the other."""
        sink = pa.BufferOutputStream()
        at = 0
        for part in self._parts:
            held = part.append_column(_TIMES, pa.array(self._times[at : at + len(part)]))
            at += len(part)
            with pa.ipc.new_stream(sink, held.schema) as stream:
                stream.write_table(held.combine_chunks())
        return {"latest": self.latest}, sink.getvalue().to_pybytes()

    def restore(self, said: dict[str, Any], content: bytes) -> None:
        """Hold what ``save`` gave."""
        source = pa.BufferReader(content)
        held = []
        while source.tell() < len(content):
            held.append(pa.ipc.open_stream(source).read_all())
        self._times = np.concatenate([np.zeros(0, np.int64), *(np.asarray(each[_TIMES]) for each in held)])
        self._parts = [each.select(self._columns) for each in held if len(each)]
        self.latest = said["latest"]

    def _first(self, count: int) -> list[pa.Table]:
        """The first samples, so many at most."""
        some = []
        for part in self._parts:
            if count <= 0:
                break
            some.append(part.slice(0, count))
            count -= len(part)
        return some

    def _cut(self, end: int) -> Cut:
        records = together(self._first(end)).combine_chunks().to_batches()[0]
        event_ms = int(self._times[end - 1])
        self._times = self._times[end:]
        while end:
            part = self._parts.pop(0)
            if len(part) > end:
                self._parts.insert(0, part.slice(end))
            end -= min(end, len(part))
        return Cut(records, event_ms)

    def _running(self, samples: pa.Table) -> NDArray[np.int64]:
        name = READY if READY in samples.column_names else self._time
        times = np.full(len(samples), self.latest, np.int64)
        if name is not None and name in samples.column_names:
            times = np.maximum(times, milliseconds(samples[name]))
        times = np.maximum.accumulate(times)
        self.latest = int(times[-1])
        return times


def milliseconds(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A column of times as milliseconds, int64 ``[n]``; 0 where there is none."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms"), safe=False)
    elif not pa.types.is_integer(column.type):
        return np.zeros(len(column), np.int64)
    return np.asarray(column.cast(pa.int64(), safe=False).fill_null(0).to_numpy(), np.int64)
