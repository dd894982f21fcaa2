"""Samples taken apart into the events that would have made them: impressions and actions, in the order of their times.

What the sample join puts together again. Knows nothing of logs of events, of clocks, or of any data set.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from larix.data.files import Files
from larix.data.join import Action, Clicked, Impressions, JoinSpec, Total
from larix.errors import ConfigError, DataError

KEY, EVENT, KIND, VALUE = "impression_id", "event_id", "kind", "value"
_ROWS = 4096  # of a read


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How what a column of samples says came to be known: one action of ``kind`` where ``label`` is not 0, none where it is.

    The action's time is the impression's and ``after_ms`` more, and the milliseconds in column ``played`` more, of those
    ``at_most_ms``. ``measured``: the action carries the label as its value; otherwise the label is 0 or 1.
    """

    label: str
    kind: str
    after_ms: int = 0
    played: str | None = None
    at_most_ms: int | None = None
    measured: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Slice:
    """The events of a span of time that ends before ``until_ms``, each batch by (time, event id); perhaps of no rows."""

    until_ms: int
    impressions: pa.RecordBatch
    actions: pa.RecordBatch


@dataclass(frozen=True, kw_only=True, slots=True)
class Unjoin:
    """What takes samples apart.

    ``identity``: the columns that tell an impression from every other; joined by ``-`` they are its key and event id.
    ``time``: the column of its time, int64 ms. ``outcomes``: what was not known then, and how it came to be known.
    ``hidden``: columns that were not known either, and are left out. All others are the impression's, as logged.
    ``keyed``: a column, such as the user, that actions carry too, so that all events of one value can go to one partition.
    """

    identity: tuple[str, ...]
    time: str
    outcomes: tuple[Outcome, ...]
    hidden: tuple[str, ...] = ()
    keyed: str | None = None

    def __post_init__(self) -> None:
        kinds = [outcome.kind for outcome in self.outcomes]
        if len(set(kinds)) < len(kinds):
            raise ConfigError(f"outcomes need a kind each, got {kinds}: an action's event id names its kind")
        taken = {
            KEY,
            EVENT,
            KIND,
            VALUE,
            self.time,
            *self.hidden,
            *(outcome.label for outcome in self.outcomes),
        }
        if self.keyed in taken:
            raise ConfigError(
                f"events are keyed by '{self.keyed}', which actions have as a column of their own, or impressions have not; "
                "name another, such as the user's"
            )

    def join(
        self, impressions: str, actions: str, *, window_s: float = 1800, lateness_s: float = 60
    ) -> JoinSpec:
        """The join that makes the samples again, of these two topics. A replay's events may be older than their appends."""
        told: dict[str, Any] = {"key": KEY, "time": self.time, "event_id": EVENT}
        kinds = [
            Action(
                each.kind,
                topic=actions,
                where={KIND: each.kind},
                value=VALUE if each.measured else None,
                **told,
            )
            for each in self.outcomes
        ]
        return JoinSpec(
            impressions=Impressions(impressions, **told),
            actions=tuple(kinds),
            labels={each.label: (Total if each.measured else Clicked)(each.kind) for each in self.outcomes},
            window_s=window_s,
            lateness_s=lateness_s,
            ahead_s=None,
            keys="string",
            ids="string",
        )

    def slices(self, samples: Files, *, every_ms: int, disorder_ms: int = 3 * 3_600_000) -> Iterator[Slice]:
        """The events of ``samples``, in slices of ``every_ms`` that have any, streaming.

        ``disorder_ms``: how much older than the newest sample so far a sample may be. What is younger waits in memory.

        Raises:
            DataError: a sample is older than that, comes without a label, or lacks a column.
        """
        if every_ms < 1 or disorder_ms < 0:
            raise ConfigError(
                f"every_ms must be at least 1 and disorder_ms 0, got {every_ms} and {disorder_ms}"
            )
        waiting: tuple[pa.Table, pa.Table] | None = None
        newest = done = -(1 << 62)
        with samples.stream(batch_size=_ROWS) as stream:
            for records in stream:
                parts = self.apart(records)
                oldest = pc.min(parts[0][self.time]).as_py()
                if oldest < done:
                    raise DataError(
                        f"a sample of {self.time} {oldest} comes after one of {newest}; sort the files by time, or "
                        f"allow for more than disorder_ms={disorder_ms}"
                    )
                newest = max(newest, pc.max(parts[0][self.time]).as_py())
                waiting = parts if waiting is None else _together(waiting, parts)
                until = (newest - disorder_ms) // every_ms * every_ms
                if until > done:
                    done = until
                    ready, waiting = self._before(waiting, until)
                    yield from self._cut(ready, every_ms)
        if waiting is not None:
            yield from self._cut(waiting, every_ms)

    def apart(self, records: pa.RecordBatch) -> tuple[pa.Table, pa.Table]:
        """The impressions of ``records``, and the actions: key, event id, kind, time, value (int64, null if none), `keyed`."""
        names = records.schema.names
        keyed = () if self.keyed is None else (self.keyed,)
        for name in (*self.identity, self.time, *keyed, *(outcome.label for outcome in self.outcomes)):
            if name not in names:
                raise DataError(
                    f"the samples have no column '{name}', which tells what happened; prepare them again"
                )
            if records[name].null_count:
                raise DataError(
                    f"column '{name}' of the samples has nulls: no event can say that; leave those rows out"
                )
        keys = key_of(records, self.identity)
        unknown = {outcome.label for outcome in self.outcomes} | set(self.hidden)
        columns = {KEY: keys, EVENT: keys} | {name: records[name] for name in names if name not in unknown}
        times = records[self.time].to_numpy()
        actions = [self._happened(records, outcome, keys, times) for outcome in self.outcomes]
        return pa.table(columns), pa.concat_tables(actions)

    def _happened(
        self, records: pa.RecordBatch, outcome: Outcome, keys: pa.Array, times: NDArray[np.int64]
    ) -> pa.Table:
        values = records[outcome.label].to_numpy().astype(np.int64)
        rows = np.flatnonzero(values)
        after = np.full(len(rows), outcome.after_ms, np.int64)
        if outcome.played is not None:
            after += records[outcome.played].fill_null(0).to_numpy().astype(np.int64)[rows]
        if outcome.at_most_ms is not None:
            after = np.minimum(after, outcome.at_most_ms)
        of = keys.take(pa.array(rows))
        value = pa.array(values[rows]) if outcome.measured else pa.nulls(len(rows), pa.int64())
        more = {} if self.keyed is None else {self.keyed: records[self.keyed].take(pa.array(rows))}
        return pa.table(
            {
                KEY: of,
                EVENT: pc.binary_join_element_wise(of, outcome.kind, "-"),
                KIND: pa.array([outcome.kind]).take(pa.array(np.zeros(len(rows), np.int64))),
                self.time: times[rows] + after,
                VALUE: value,
                **more,
            }
        )

    def _before(
        self, waiting: tuple[pa.Table, pa.Table], until: int
    ) -> tuple[tuple[pa.Table, pa.Table], tuple[pa.Table, pa.Table]]:
        older = [pc.less(table[self.time], until) for table in waiting]
        ready = [table.filter(mask) for table, mask in zip(waiting, older, strict=True)]
        later = [table.filter(pc.invert(mask)) for table, mask in zip(waiting, older, strict=True)]
        return (ready[0], ready[1]), (later[0], later[1])

    def _cut(self, ready: tuple[pa.Table, pa.Table], every_ms: int) -> Iterator[Slice]:
        sides = [_batch(table.sort_by([(self.time, "ascending"), (EVENT, "ascending")])) for table in ready]
        numbers = [side[self.time].to_numpy() // every_ms for side in sides]
        for number in np.union1d(*numbers).tolist():
            ends = [np.searchsorted(of, [number, number + 1]) for of in numbers]
            batches = [
                side.slice(first, last - first) for side, (first, last) in zip(sides, ends, strict=True)
            ]
            yield Slice(until_ms=(number + 1) * every_ms, impressions=batches[0], actions=batches[1])


def key_of(records: pa.RecordBatch, identity: Sequence[str]) -> pa.Array:
    """The keys of impressions, by the columns that tell them apart."""
    return pc.binary_join_element_wise(*(records[name].cast(pa.string()) for name in identity), "-")


def _together(one: tuple[pa.Table, pa.Table], other: tuple[pa.Table, pa.Table]) -> tuple[pa.Table, pa.Table]:
    return pa.concat_tables([one[0], other[0]]), pa.concat_tables([one[1], other[1]])


def _batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
