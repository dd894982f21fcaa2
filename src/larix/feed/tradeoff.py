"""What diversity costs: relevance, distance within the page and categories shown, over many requests and settings.

Knows nothing of how candidates were found or scored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from larix.batch import Floats, Ids, Jagged
from larix.errors import DataError
from larix.feed.diversity import DPP, MMR, SSD, Diversity

BALANCES = (1.0, 0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5, 0.0)
GAMMAS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """The candidates of one request: ``relevance`` ``[n]``, ``vectors`` ``[n, dim]``, ids of ``n`` items by category."""

    relevance: Floats
    vectors: Floats
    categories: Mapping[str, Jagged]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What pages were like on average.

    ``relevance``: of an item. ``given_up``: how much of that is missing to pages by relevance alone, as a share.
    ``distance``: 1 - cosine, of two items of a page. ``coverage``: how many different ids of each category a page shows.
    """

    relevance: float
    given_up: float
    distance: float
    coverage: Mapping[str, float]


def measure(requests: Sequence[Request], method: Diversity, count: int) -> Outcome:
    """Return what pages of ``count`` items by ``method`` are like; DataError if no request has a candidate."""
    return _mean(requests, [method.page(each.relevance, each.vectors, count).items for each in requests])


def trade_off(
    requests: Sequence[Request], methods: Sequence[Diversity], count: int
) -> list[tuple[Diversity, Outcome]]:
    """Return the outcome of each method: a curve, if they are settings of one; see ``settings``."""
    return [(method, measure(requests, method, count)) for method in methods]


def settings(window: int | None) -> dict[str, list[Diversity]]:
    """Return settings of each method from relevance alone to (nearly) diversity alone."""
    return {
        "MMR": [MMR(balance=balance, window=window) for balance in BALANCES],
        "DPP": [DPP(balance=balance, window=window) for balance in BALANCES],
        "SSD": [SSD(gamma=gamma, window=window) for gamma in GAMMAS],
    }


def _mean(requests: Sequence[Request], pages: Sequence[Ids]) -> Outcome:
    shown = [(request, page) for request, page in zip(requests, pages, strict=True) if len(page)]
    if not shown:
        raise DataError("there is no candidate in any request; nothing can be said of empty pages")
    relevance = _relevance(shown)
    best = _relevance(
        [(each, np.argsort(-each.relevance, kind="stable")[: len(page)]) for each, page in shown]
    )
    distances = [_distance(request.vectors[page]) for request, page in shown if len(page) > 1]
    return Outcome(
        relevance=relevance,
        given_up=(best - relevance) / abs(best) if best else 0.0,
        distance=float(np.mean(distances)) if distances else 0.0,
        coverage={
            name: float(np.mean([_different(request.categories[name], page) for request, page in shown]))
            for name in shown[0][0].categories
        },
    )


def _relevance(shown: Sequence[tuple[Request, Ids]]) -> float:
    return float(np.mean([request.relevance[page].astype(np.float64).mean() for request, page in shown]))


def _distance(vectors: Floats) -> float:
    rows = vectors.astype(np.float64)
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    rows = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    pairs = len(rows) * (len(rows) - 1)
    summed = rows.sum(axis=0)
    return 1.0 - float(summed @ summed - (rows * rows).sum()) / pairs


def _different(jagged: Jagged, page: Ids) -> int:
    if jagged.offsets is None:
        return len(np.unique(jagged.values[page]))
    spans = [jagged.values[jagged.offsets[item] : jagged.offsets[item + 1]] for item in page]
    return len(np.unique(np.concatenate(spans)))
