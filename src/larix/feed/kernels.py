"""The one door to native code for the feed: typed calls that check shapes and allocate the outputs.

Knows nothing of tasks, scenes or requests. What the kernels compute is told in native/diversity.hpp.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

import larix._native as native
from larix.batch import Floats, Ids
from larix.errors import DataError


class Page(NamedTuple):
    """What is shown, first to last.

    ``items``: int64 ``[size]``, positions among the candidates. ``diversity``: float64 ``[size]``, what was
    added to each one's weighted relevance when it was chosen.
    """

    items: Ids
    diversity: NDArray[np.float64]


_Kernel = Callable[[Floats, Floats, float, int, Ids, NDArray[np.float64]], None]


def mmr(relevance: ArrayLike, vectors: ArrayLike, count: int, *, balance: float, window: int | None) -> Page:
    """Choose up to ``count`` candidates by maximal marginal relevance; see ``feed.MMR``."""
    return _page(native.mmr, relevance, vectors, count, balance, window)


def dpp(relevance: ArrayLike, vectors: ArrayLike, count: int, *, balance: float, window: int | None) -> Page:
    """Choose up to ``count`` candidates by a determinantal point process; see ``feed.DPP``."""
    return _page(native.dpp, relevance, vectors, count, balance, window)


def ssd(relevance: ArrayLike, vectors: ArrayLike, count: int, *, gamma: float, window: int | None) -> Page:
    """Choose up to ``count`` candidates by sliding spectrum decomposition; see ``feed.SSD``."""
    return _page(native.ssd, relevance, vectors, count, gamma, window)


def _page(
    kernel: _Kernel, relevance: ArrayLike, vectors: ArrayLike, count: int, weight: float, window: int | None
) -> Page:
    scores = np.ascontiguousarray(relevance, np.float32)
    rows = np.ascontiguousarray(vectors, np.float32)
    if scores.ndim != 1 or rows.ndim != 2 or len(rows) != len(scores):
        raise DataError(
            f"relevance has shape {list(scores.shape)} and vectors {list(rows.shape)}; "
            "they must be [candidates] and [candidates, dim]"
        )
    if count < 0:
        raise DataError(f"a page of {count} items cannot be made; ask for 0 or more")
    size = min(count, len(scores))
    page = Page(np.empty(size, np.int64), np.empty(size, np.float64))
    kernel(scores, rows, weight, max(size, 1) if window is None else window, page.items, page.diversity)
    return page
