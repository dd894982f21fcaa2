"""A part of all ids, for stores that divide the rows of one version among them. Knows nothing of where stores are."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from larix.batch import Ids
from larix.embedding import ranges
from larix.embedding.birth import GOLDEN, mix
from larix.embedding.changes import Changes, Touched
from larix.embedding.snapshot import Piece, Snapshot


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Number ``index`` of the ``count`` parts that all ids fall into, in every table alike.

    By a hash of the id that nothing else goes by, so that a store of one part fills its index as evenly as one of all. A part
    of a state is not that state: it has no history that a log could go on with.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        ranges.count(self, count=self.count)
        ranges.whole(self, 2**31, count=self.count)
        ranges.whole(self, self.count, index=self.index)

    def holds(self, ids: Ids) -> NDArray[np.bool_]:
        """Whether each id is in this part: bool ``[n]``."""
        high = mix(ids.view(np.uint64) ^ GOLDEN) >> np.uint64(32)
        found: NDArray[np.bool_] = high * np.uint64(self.count) >> np.uint64(32) == self.index
        return found

    def of(self, whole: Snapshot) -> Snapshot:
        """The snapshot's rows in this part, read as it is iterated."""
        instant = replace(whole.instant, history="")
        return Snapshot(whole.specs, whole.seed, instant, self._pieces(whole), whole.close, whole.held)

    def changes_of(self, whole: Changes) -> Changes:
        """The changes that are about ids in this part."""
        tables = {}
        for name, touched in whole.tables.items():
            rows = touched.piece(name).take(self.holds(touched.ids))
            tables[name] = Touched(*rows[1:], removed=touched.removed[self.holds(touched.removed)])
        return replace(whole, instant=replace(whole.instant, history=""), tables=tables)

    def _pieces(self, whole: Snapshot) -> Iterator[Piece]:
        for piece in whole:
            yield piece.take(self.holds(piece.ids))
