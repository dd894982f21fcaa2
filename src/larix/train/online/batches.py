"""Samples cut into batches, by their number and their times alone: the same batches whenever they are read again.

Knows nothing of where samples come from or of what is learned from them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

READY = "ready_ms"  # the event time at which a sample was final, where a joiner says it

_TIMES = "times of the cutter"


class Cut(NamedTuple):
    """A batch, and the latest event time up to its end."""

    records: pa.RecordBatch
    event_ms: int


class Cutter:
    """Holds samples until a batch is full, or the next is more than ``span_ms`` of event time after the batch's first.

    Only ``columns`` are kept; one that is not there is null. Times are those of ``READY`` if there is that column, else of
    ``time``; none at all cuts by number alone. A time that falls behind, or is null, counts as the latest so far.
    """

    def __init__(self, columns: Sequence[str], time: str | None, size: int, span_ms: float) -> None:
        self._columns = tuple(dict.fromkeys((*columns, READY)))
        self._time = time
        self._size = size
        self._span_ms = span_ms
        self._held = pa.table({name: pa.nulls(0) for name in self._columns})
        self._times: NDArray[np.int64] = np.zeros(0, np.int64)
        self.latest = 0

    @property
    def pending(self) -> int:
        """How many samples are held."""
        return len(self._times)

    def push(self, samples: pa.Table) -> str:
        """Hold ``samples``, too; return "", or why they cannot be held: a column's type fits neither with what it was."""
        if not len(samples):
            return ""
        given = {
            name: samples[name] if name in samples.column_names else pa.nulls(len(samples))
            for name in self._columns
        }
        try:
            held = pa.concat_tables([self._held, pa.table(given)], promote_options="permissive")
        except pa.ArrowTypeError as error:
            return f"{len(samples)} samples have a column of another type than those before: {error}"
        self._held = held
        self._times = np.concatenate([self._times, self._running(samples)])
        return ""

    def pop(self) -> Cut | None:
        """The next batch, if it has come to its end."""
        count = len(self._times)
        if not count:
            return None
        end = int(np.searchsorted(self._times[: self._size], self._times[0] + self._span_ms, side="right"))
        return self._cut(end) if end == self._size or end < count else None

    def rest(self) -> Cut | None:
        """What is held when no more will come."""
        return self._cut(min(len(self._times), self._size)) if len(self._times) else None

    def save(self) -> tuple[dict[str, Any], bytes]:
        """All that is held, as JSON values and an Arrow stream."""
        held = self._held.append_column(_TIMES, pa.array(self._times))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, held.schema) as stream:
            stream.write_table(held.combine_chunks())
        return {"latest": self.latest}, sink.getvalue().to_pybytes()

    def restore(self, said: dict[str, Any], content: bytes) -> None:
        """Hold what ``save`` gave."""
        held = pa.ipc.open_stream(content).read_all()
        self._times = np.array(held[_TIMES], np.int64)
        self._held = held.select(self._columns)
        self.latest = said["latest"]

    def _cut(self, end: int) -> Cut:
        records = self._held.slice(0, end).combine_chunks().to_batches()[0]
        event_ms = int(self._times[end - 1])
        self._held, self._times = self._held.slice(end), self._times[end:]
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
