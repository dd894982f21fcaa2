"""People of a feed to show pages to, and what happens as they act: their histories grow, events go to a log.

A stand-in for an app's front end and its store of features. Knows nothing of models, of servers or of how events are joined.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from larix.data import Files
from larix.data.unjoin import Unjoin
from larix.errors import ConfigError, DataError

Row = dict[str, Any]
Since = Callable[[Mapping[str, Any], Iterable[Mapping[str, Any]]], Row]
_READ = 1 << 15  # impressions that are held in memory, at most
_APART_MS = 1000  # between two items that somebody is shown


@dataclass(frozen=True, slots=True, eq=False)
class Guest:
    """``row``: the last sample that tells of somebody. ``candidates``: items that may be shown, by the item."""

    name: str
    row: Row
    candidates: Mapping[Any, Row]
    title: str = ""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Asked:
    """A page asked for: the request's values by column, the candidates' as lists by column."""

    context: Row
    candidates: dict[str, list[Any]]
    at_ms: int


@dataclass(kw_only=True, slots=True, eq=False)
class _Clock:
    """Event time, which goes on where the feed ended."""

    ms: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def past(self, ms: int) -> int:
        with self.lock:
            self.ms += ms
            return self.ms


class Guests:
    """``guests`` and what they have lived through since. Any number of threads may call.

    ``context`` and ``items``: the columns that a request brings, of whom and of what. ``item``: the one that names items.
    ``unjoin``: how what happens is told as events. ``since``: what a row of features becomes by what happened since.
    ``schema``: of the feed's samples. ``now_ms``: the feed's last moment.
    """

    def __init__(
        self,
        guests: Sequence[Guest],
        *,
        context: Sequence[str],
        items: Sequence[str],
        item: str,
        unjoin: Unjoin,
        since: Since,
        schema: pa.Schema,
        now_ms: int,
    ) -> None:
        self.guests = {guest.name: guest for guest in guests}
        self._context, self._items, self._item = tuple(context), tuple(items), item
        self._unjoin, self._since, self._schema = unjoin, since, schema
        self._clock = _Clock(ms=now_ms)
        self._lived: list[Row] = []  # by everybody, oldest first

    @property
    def now_ms(self) -> int:
        """Event time."""
        return self._clock.ms

    def wait(self, ms: int) -> None:
        """Let event time pass."""
        self._clock.past(ms)

    def ask(self, name: str) -> Asked:
        """What a page is asked for with, as of now. DataError if there is no such guest."""
        guest, lived, now = self._of(name), tuple(self._lived), self._clock.ms
        person = {**self._since(guest.row, lived), self._unjoin.time: now}
        items = [self._since(row, lived) for row in guest.candidates.values()]
        return Asked(
            context={column: person[column] for column in self._context},
            candidates={column: [row[column] for row in items] for column in self._items},
            at_ms=now,
        )

    def live(
        self, name: str, shown: Sequence[Any], acts: Mapping[Any, Mapping[str, int]]
    ) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """A guest is shown items and acts on some: the impressions, as logged, and the actions, as events.

        ``acts``: by item the labels that are not 0. Event time passes. DataError for an item that is no candidate of theirs,
        or a label that there is not.
        """
        guest = self._of(name)
        labels = [outcome.label for outcome in self._unjoin.outcomes]
        rows: list[Row] = []
        for item in shown:
            self.check(name, item)
            did = dict(acts.get(item, {}))
            if unknown := sorted(set(did) - set(labels)):
                raise DataError(f"there is no label {unknown[0]!r} to act by; there are {labels}")
            lived = tuple(self._lived)
            person, thing = self._since(guest.row, lived), self._since(guest.candidates[item], lived)
            of_item = {column: thing[column] for column in self._items}
            when = {self._unjoin.time: self._clock.past(_APART_MS)}
            rows.append(person | of_item | when | dict.fromkeys(labels, 0) | did)
        self._lived += rows
        records = pa.RecordBatch.from_pylist(rows, schema=self._schema)
        impressions, actions = self._unjoin.apart(records)
        return _sorted(impressions, self._unjoin.time), _sorted(actions, self._unjoin.time)

    def check(self, name: str, item: Any) -> None:
        """Raise DataError unless there is that guest, and the item may be shown to them."""
        if item not in self._of(name).candidates:
            raise DataError(f"item {item!r} is no candidate of {name}'s; /v1/examples tells which are")

    def _of(self, name: str) -> Guest:
        if name not in self.guests:
            raise DataError(f"there is no guest {name!r}; there are {sorted(self.guests)}")
        return self.guests[name]


def invite(
    source: Files, *, group: str, item: str, time: str, guests: int = 3, candidates: int = 200, seed: int = 0
) -> tuple[list[Guest], int]:
    """People of the source's last impressions, and the source's last moment.

    They are those who were shown most of its last rows. Each has ``candidates`` items at random among those anyone was shown
    in these rows, each as it was when it was shown last. ConfigError if the source has no row.
    """
    table = _last(source, time)
    people, items = (table[name].to_numpy() for name in (group, item))
    names, counts = np.unique(people, return_counts=True)
    chosen = names[np.argsort(-counts, kind="stable")][:guests]
    things, newest = _newest(items)
    random = np.random.default_rng(seed)
    found = []
    for who in chosen.tolist():
        row = table.slice(int(np.flatnonzero(people == who)[-1]), 1).to_pylist()[0]
        taken = np.sort(random.permutation(len(things))[:candidates])
        rows = table.take(newest[taken]).to_pylist()
        shown = int(counts[names == who][0])
        found.append(
            Guest(f"{who}", row, {each[item]: each for each in rows}, f"{group} {who}, {shown} impressions")
        )
    return found, int(pc.max(table[time]).as_py())


def _last(source: Files, time: str) -> pa.Table:
    """The last rows of the source, in the order of time."""
    skip = max(0, source.rows - _READ)
    batches = list(source.batches(skip=skip))
    if not sum(map(len, batches)):
        raise ConfigError("the feed has no rows to invite anybody from")
    return pa.Table.from_batches(batches).sort_by([(time, "ascending")]).combine_chunks()


def _newest(items: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Every item, and the last row of each."""
    things, back = np.unique(items[::-1], return_index=True)
    return things, len(items) - 1 - back


def _sorted(table: pa.Table, time: str) -> pa.RecordBatch:
    batches = table.sort_by([(time, "ascending")]).combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
