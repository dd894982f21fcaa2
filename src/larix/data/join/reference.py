"""The oracle: what a join means, in plain Python, one event at a time. Slow, keeps everything, and easy to check.

The embedded joiner and the Flink job give the same samples. Shares with the joiner only the types of carried columns.
"""

import heapq
import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from larix.data.join.carried import Carried
from larix.data.join.spec import (
    CORRECTION,
    END,
    LATEST_MS,
    NEVER,
    RATE,
    READY,
    Action,
    Clicked,
    Form,
    JoinSpec,
    Total,
    Type,
)
from larix.data.join.stats import JoinStats
from larix.data.log.events import Events

Key = int | str
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Action:
    time: int
    id: Key
    order: int  # of its kind in the declaration
    kind: str
    value: float


@dataclass(kw_only=True)
class _Impression:
    time: int
    key: Key
    id: Key
    row: Row
    labels: dict[str, float] = field(default_factory=dict)


class Reference:
    """Takes what `Joiner` takes and gives the same samples, as dicts without the columns that are null."""

    def __init__(
        self, spec: JoinSpec, *, partitions: Mapping[str, int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.spec, self.stats = spec, JoinStats.of(spec)
        self.watermark: int | None = None
        self._clock = clock
        started = clock()
        self._heard = {(topic, each): started for topic, count in partitions.items() for each in range(count)}
        self._newest: dict[tuple[str, int], int] = {}
        self._ids: dict[tuple[str, Key], int] = {}
        self._carried = Carried({})
        self._impressions: dict[Key, list[_Impression]] = defaultdict(list)
        self._actions: dict[Key, list[_Action]] = defaultdict(list)
        self._due: list[tuple[Any, ...]] = []  # a heap of impressions that are to come out
        self._unresolved: list[tuple[Any, ...]] = []  # a heap of actions that the watermark has not passed

    def push(self, events: Sequence[Events], *, behind: Iterable[tuple[str, int]] = ()) -> list[Row]:
        """Take events; give the samples that became final. Of partitions ``behind`` there are more: they are not idle."""
        now = self._clock()
        for each in events:
            if len(each.rows):
                self._take(each, now)
        self._heard |= dict.fromkeys(behind, now)
        heard = {partition: at for partition, at in self._heard.items() if not self._idle(now - at)}
        if heard and all(partition in self._newest for partition in heard):
            least = min(self._newest[partition] for partition in heard) - self.spec.lateness_ms
            self.watermark = least if self.watermark is None else max(self.watermark, least)
        return [*self._out()]

    def finish(self) -> list[Row]:
        """The input is over: give what is left. Should more come all the same, what is later than all before counts."""
        self.watermark = END
        samples = [*self._out()]
        self.watermark = max(self._newest.values()) + 1 if self._newest else None
        for past in (self._ids, self._impressions, self._actions):
            past.clear()
        return samples

    def _idle(self, silent_s: float) -> bool:
        return self.spec.idle_s is not None and silent_s >= self.spec.idle_s

    def _take(self, events: Events, now: float) -> None:
        """Judge each row of an append, in order, as each of its kinds."""
        partition = (events.topic, events.partition)
        self._heard[partition] = now
        impressions = []  # (row number, time, key, id)
        for number, row in enumerate(_rows(events.rows, self.spec.topics[events.topic])):
            at = _time(row.get(self.spec.topics[events.topic]))
            bound = max(
                NEVER if self.watermark is None else self.watermark,
                self._newest.get(partition, NEVER) - self.spec.lateness_ms,
            )
            future = (
                at is not None and self.spec.ahead_ms is not None and at > events.time_ms + self.spec.ahead_ms
            )
            kinds = [
                (order, name)
                for order, (name, kind) in enumerate(self.spec.kinds.items())
                if kind.topic == events.topic and all(_same(row.get(c), v) for c, v in kind.where.items())
            ]
            for order, name in kinds:
                kind, fate = self.spec.kinds[name], self.stats.kinds[name]
                key, id_ = (
                    _typed(row.get(kind.key), self.spec.keys),
                    _typed(row.get(kind.event_id), self.spec.ids),
                )
                if at is None or key is None or id_ is None:
                    fate.null += 1
                elif future:
                    fate.future += 1
                elif at < bound:
                    fate.late += 1
                elif self._ids.get((name, id_), 2 * NEVER) >= bound:
                    fate.duplicate += 1
                else:
                    fate.accepted += 1
                    self._ids[name, id_] = max(at, self._ids.get((name, id_), at))
                    if isinstance(kind, Action):
                        value = 0.0 if kind.value is None else _number(row.get(kind.value))
                        action = _Action(time=at, id=id_, order=order, kind=name, value=value)
                        self._actions[key].append(action)
                        heapq.heappush(self._unresolved, (at, id_, order, key, action))
                    else:
                        impressions.append((number, at, key, id_))
            if not kinds:
                self.stats.passed_over[events.topic] += 1
            if at is not None and not future:
                self._newest[partition] = max(at, self._newest.get(partition, at))
        if impressions:
            self._carry(events.rows, impressions)

    def _carry(self, rows: pa.RecordBatch, impressions: Sequence[tuple[int, int, Key, Key]]) -> None:
        ours = self.spec.impressions
        numbers, times, keys, ids = zip(*impressions, strict=True)
        for name, values, kind in (
            (ours.event_id, ids, self.spec.ids),
            (ours.key, keys, self.spec.keys),
            (ours.time, times, "int64"),
        ):
            rows = _replaced(rows, name, dict(zip(numbers, values, strict=True)), kind)
        fit, unfit = self._carried.fit(rows.take(pa.array(numbers)))
        for name, count in unfit.items():
            self.stats.unfit[name] = self.stats.unfit.get(name, 0) + count
        for row, at, key, id_ in zip(fit.to_pylist(), times, keys, ids, strict=True):
            each = _Impression(time=at, key=key, id=id_, row=row, labels=dict.fromkeys(self.spec.labels, 0.0))
            self._impressions[key].append(each)
            ready = at + (self.spec.window_ms if self.spec.emit == "end" else 0)
            heapq.heappush(self._due, (ready, key, id_, each))

    def _out(self) -> Iterator[Row]:
        """What the watermark has passed: by `ready_ms`, samples before corrections."""
        if self.watermark is None:
            return
        while True:
            sample = self._due[0][0] if self._due else END
            action = self._unresolved[0][0] if self._unresolved else END
            if min(sample, action) >= self.watermark:
                return
            if sample <= action:
                yield from self._sample(heapq.heappop(self._due)[-1], sample)
            else:
                *_, key, found = heapq.heappop(self._unresolved)
                yield from self._resolve(found, key)

    def _sample(self, of: _Impression, ready: int) -> Iterator[Row]:
        labels = dict.fromkeys(self.spec.labels, 0.0)
        if self.spec.emit == "end":
            for action in sorted(self._actions[of.key], key=lambda each: (each.time, each.id, each.order)):
                if self._belongs(action, of):
                    labels |= _after(self.spec.labels, labels, action)
        few = self.spec.negatives
        if few is not None and labels[few.label] == 0.0 and not few.keeps(of.key):
            self.stats.left_out += 1
            return
        rate = 1.0 if few is None or labels[few.label] else few.rate
        self.stats.samples += 1
        yield self._row(of, labels, ready, rate, correction=False)

    def _resolve(self, action: _Action, key: Key) -> Iterator[Row]:
        """An action that the watermark has passed: an orphan, or (at once) a correction of each of its impressions."""
        found = [each for each in self._impressions[key] if self._belongs(action, each)]
        if not found:
            self.stats.kinds[action.kind].orphans += 1
        if self.spec.emit == "end":
            return
        for each in sorted(found, key=lambda impression: (impression.time, impression.id)):
            changed = _after(self.spec.labels, each.labels, action)
            each.labels |= changed
            if changed:
                self.stats.corrections += 1
                yield self._row(each, changed, action.time, 1.0, correction=True)

    def _belongs(self, action: _Action, impression: _Impression) -> bool:
        return impression.time <= action.time <= impression.time + self.spec.window_ms

    def _row(
        self, of: _Impression, labels: Mapping[str, float], ready: int, rate: float, *, correction: bool
    ) -> Row:
        row = {name: value for name, value in of.row.items() if name not in self.spec.labels}
        row |= {name: float(np.float32(value)) for name, value in labels.items()} | {READY: ready}
        if self.spec.negatives is not None:
            row[RATE] = float(np.float32(rate))
        if self.spec.emit == "at_once":
            row[CORRECTION] = correction
        return {name: value for name, value in row.items() if value is not None}


def join(
    spec: JoinSpec, events: Iterable[Events], partitions: Mapping[str, int]
) -> tuple[list[Row], JoinStats]:
    """The samples of a bounded input, in order, and the counts."""
    reference = Reference(spec, partitions=partitions)
    samples = [row for each in events for row in reference.push([each])]
    return samples + reference.finish(), reference.stats


def _after(labels: Mapping[str, Form], before: Mapping[str, float], action: _Action) -> dict[str, float]:
    """The labels that an action changes, with their new values."""
    after = {}
    for name, form in labels.items():
        if isinstance(form, Clicked) and action.kind == form.action:
            after[name] = 1.0
        elif isinstance(form, Total) and action.kind == form.action:
            after[name] = before[name] + action.value
        elif not isinstance(form, Clicked | Total) and action.kind in (form.on, form.off):
            after[name] = float(action.kind == form.on)
    return {name: value for name, value in after.items() if value != before[name]}


def _rows(rows: pa.RecordBatch, time_column: str) -> list[Row]:
    """The rows as dicts; times as whole milliseconds; of two columns of one name the first."""
    columns: dict[str, list[Any]] = {}
    for name, values in zip(rows.schema.names, rows.columns, strict=True):
        if name == time_column and pa.types.is_timestamp(values.type):
            values = values.cast(pa.timestamp("ms", values.type.tz), safe=False)
        columns.setdefault(name, values.to_pylist())
    return [{name: values[number] for name, values in columns.items()} for number in range(len(rows))]


def _replaced(rows: pa.RecordBatch, name: str, values: Mapping[int, Key], kind: str) -> pa.RecordBatch:
    column = pa.array([values.get(number) for number in range(len(rows))], kind)
    return rows.set_column(rows.schema.get_all_field_indices(name)[0], name, column)


def _same(value: Any, wanted: Any) -> bool:
    return type(value) is type(wanted) and value == wanted


_EPOCH = datetime(1970, 1, 1)


def _time(value: Any) -> int | None:
    """Milliseconds since the epoch, or None."""
    if isinstance(value, datetime):
        value = (value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value) - _EPOCH
        value = value // timedelta(milliseconds=1)
    at = _typed(value, "int64")
    return at if isinstance(at, int) and 0 <= at < LATEST_MS else None


def _typed(value: Any, kind: Type) -> Key | None:
    """A key or an event id as what the spec says they are; None if it cannot be."""
    if isinstance(value, bool):
        return None
    if kind == "string":
        return str(value) if isinstance(value, int | str) else None
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= 2**53 else None
    return value if isinstance(value, int) and -(2**63) <= value < 2**63 else None


def _number(value: Any) -> float:
    if isinstance(value, str):
        value = float(value) if re.fullmatch(r"-?[0-9]{1,30}(\.[0-9]{1,30})?", value, re.ASCII) else 0.0
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
