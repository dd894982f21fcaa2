"""What a gather leaves behind for its apply, and what a store counts. Knows nothing of how rows are found."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from larix.batch import Batch
from larix.embedding.cold import ColdStats
from larix.embedding.layout import Layout


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """The rows that one gather read: one opaque handle an id, slots in layout order.

    A handle outlives later gathers and inserts; once its row is gone, its gradient counts as lost, and so do
    all gradients given to another store than the one that was asked. The gradient of an id that was refused a row
    goes nowhere and is part of ``Stats.refused``: it is not counted again.
    ``batch`` is kept, not copied: its offsets and weights must not change until the apply.
    """

    layout: Layout
    batch: Batch
    handles: NDArray[np.uint64]
    store: object


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """What a store holds and has done since it was made.

    ``rows``: rows of all tables; ``bytes``: memory of rows, index and admission sketches together. Counted by id,
    repeats included: ``lookups`` = ``hits`` + ``inserted`` + ``missing`` + ``refused``, where ``missing`` ids were only
    looked up, and ``refused`` ones met in training but given no row, by their table's admission or for want of memory;
    ``lost`` gradients met no row. ``evicted``: rows that eviction policies took away. ``cold``: of the rows on disk, which
    ``rows`` counts, too; None for a store without. What it takes in memory to find them is in ``bytes``.
    """

    rows: int
    bytes: int
    lookups: int
    hits: int
    inserted: int
    missing: int
    refused: int
    lost: int
    evicted: int
    cold: ColdStats | None = None
