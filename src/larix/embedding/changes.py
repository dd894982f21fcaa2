"""What has changed in a store between two of its sequence numbers, and how another store takes it over.

Knows nothing of files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from larix.batch import Floats, Ids
from larix.embedding.snapshot import Instant, Piece, UInts, joined
from larix.embedding.spec import TableSpec
from larix.errors import StorageError


class Touched(NamedTuple):
    """One table's rows that changed, as they are now, by rising id; ``removed``: ids without a row, rising.

    ids int64 ``[n]``, weights float32 ``[n, dim]``, state float32 ``[n, s]``, seen uint32 ``[n]``, score
    float32 ``[n]``, removed int64 ``[m]``; no id is in both.
    """

    ids: Ids
    weights: Floats
    state: Floats
    seen: UInts
    score: Floats
    removed: Ids

    def piece(self, table: str) -> Piece:
        """The rows that are there."""
        return Piece(table, self.ids, self.weights, self.state, self.seen, self.score)

    def named(self) -> Ids:
        """All ids that it says something of: ``ids``, then ``removed``."""
        return np.concatenate([self.ids, self.removed])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Changes:
    """All that changed with sequence numbers ``first`` to ``last``, at the instant that ended ``last``.

    Put onto any state from ``first - 1`` on, it gives the state at ``last``: rows are whole and the newest,
    so that doing it twice changes nothing. Tables without changes are there, too, with no rows.
    """

    first: int
    instant: Instant
    specs: Mapping[str, TableSpec]
    tables: Mapping[str, Touched]

    @property
    def last(self) -> int:
        """The sequence number whose end this is."""
        return self.instant.sequence

    def follows(self, sequence: int) -> bool:
        """Whether it is to be put onto the state at ``sequence``; False if all of it is in there already.

        StorageError if something is missing in between.
        """
        if sequence < self.first - 1:
            raise StorageError(
                f"the changes begin with sequence {self.first} but the rows stand at {sequence}: what came "
                f"between is missing; load a newer base"
            )
        return self.last > sequence


def combine(changes: Sequence[Changes]) -> Changes:
    """Return consecutive changes, the oldest first, as one that does the same."""
    for before, after in pairwise(changes):
        after.follows(before.last)
    newest = changes[-1]
    tables = {
        name: _combined([each.tables[name] for each in changes if name in each.tables])
        for name in newest.specs
    }
    return Changes(first=changes[0].first, instant=newest.instant, specs=newest.specs, tables=tables)


def fold(rows: Mapping[str, Piece], changes: Changes) -> dict[str, Piece]:
    """Return rows in arrays, by table, with changes taken over: new arrays, by rising id."""
    folded = dict(rows)
    for name, touched in changes.tables.items():
        parts = [touched.piece(name)]
        if name in rows:
            parts.append(rows[name].take(~np.isin(rows[name].ids, touched.named())))
        both = joined(parts)
        folded[name] = both.take(np.argsort(both.ids))
    return folded


def _combined(parts: Sequence[Touched]) -> Touched:
    # Each id's last word counts: whole rows and removals in one order of time, looked at from its end.
    ids = np.concatenate([part.named() for part in parts])
    there = np.concatenate([np.arange(len(part.named())) < len(part.ids) for part in parts])
    unique, back = np.unique(ids[::-1], return_index=True)
    last = len(ids) - 1 - back
    alive = there[last]
    rows = joined([part.piece("") for part in parts]).take((np.cumsum(there) - 1)[last[alive]])
    return Touched(*rows[1:], removed=unique[~alive])
