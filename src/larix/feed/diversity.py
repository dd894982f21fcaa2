"""How a page is chosen from scored candidates: relevance against likeness to the items just before.

Knows vectors by their direction alone, and nothing of where they come from. Each of the three is greedy and
deterministic: ties go to the candidate that was given first.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from numpy.typing import ArrayLike

from larix.errors import ConfigError
from larix.feed import kernels
from larix.feed.kernels import Page


class Diversity(Protocol):
    """What chooses a page."""

    def page(self, relevance: ArrayLike, vectors: ArrayLike, count: int) -> Page:
        """Return up to ``count`` of the candidates, all if there are fewer.

        ``relevance``: ``[n]``, ``vectors``: ``[n, dim]``, both read as float32. DataError for shapes that do
        not fit and for what is not finite.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class MMR:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    Each place goes to the highest ``balance * relevance - (1 - balance) * likeness``, likeness being the largest
    cosine with one of the ``window - 1`` items before it (0 if there is none). ``balance``: 0 to 1, which is
    relevance alone. ``window``: None looks back over the whole page.
    """

    balance: float = 0.7
    window: int | None = None

    def __post_init__(self) -> None:
        _check_share("MMR", self.balance)
        _check_window("MMR", self.window)

    def page(self, relevance: ArrayLike, vectors: ArrayLike, count: int) -> Page:
        """See ``Diversity``."""
        return kernels.mmr(relevance, vectors, count, balance=self.balance, window=self.window)


@dataclass(frozen=True, kw_only=True, slots=True)
class DPP:
    """Fast greedy inference of a determinantal point process (Chen, Zhang and Zhou, NeurIPS 2018).

    Each place goes to the highest ``balance * relevance + (1 - balance) * log(left)``, ``left`` being the squared
    share of the item's vector that lies outside the span of the ``window - 1`` items before it: the item
    multiplies the determinant of their Gram matrix by so much. ``balance``: 0 to 1. ``window``: None is the
    whole page.

    What lies in that span (a duplicate, a vector of zeros, everything once the window holds ``dim`` unlike items)
    has no chance beside what does not; if nothing else is left, relevance decides, and the share in
    ``Page.diversity`` is minus infinity. So a window should be no larger than the vectors' dim.
    """

    balance: float = 0.7
    window: int | None = 10

    def __post_init__(self) -> None:
        _check_share("DPP", self.balance)
        _check_window("DPP", self.window)

    def page(self, relevance: ArrayLike, vectors: ArrayLike, count: int) -> Page:
        """See ``Diversity``."""
        return kernels.dpp(relevance, vectors, count, balance=self.balance, window=self.window)


@dataclass(frozen=True, kw_only=True, slots=True)
class SSD:
    """Sliding spectrum decomposition (Huang et al., KDD 2021).

    Each place goes to the highest ``relevance + gamma * volume``, the volume that the item's unit vector spans
    together with those of the ``window - 1`` items before it.

    ``gamma``: what a whole unit of volume is worth in units of relevance; 0 is relevance alone. Volumes lie
    between 0 and 1 and shrink as the window fills, so that gamma should be several times the spread of relevance
    among the candidates for places later than the first few. ``window``: how many items in a row are to
    differ from each other, None for the whole page. A small one lets a theme come back after a while, which is what
    a feed that scrolls by wants. Items that lie in the window's span, duplicates and zeros, add no volume;
    with such an item in it, or more items than the vectors have dims, the window itself has none, and
    relevance alone decides until it has left.
    """

    gamma: float = 1.0
    window: int | None = 5

    def __post_init__(self) -> None:
        if not (0.0 <= self.gamma < math.inf):
            raise ConfigError(f"SSD has gamma={self.gamma}; it must be finite and 0 or more")
        _check_window("SSD", self.window)

    def page(self, relevance: ArrayLike, vectors: ArrayLike, count: int) -> Page:
        """See ``Diversity``."""
        return kernels.ssd(relevance, vectors, count, gamma=self.gamma, window=self.window)


def _check_share(who: str, balance: float) -> None:
    if not 0.0 <= balance <= 1.0:
        raise ConfigError(
            f"{who} has balance={balance}; it must be from 0 (diversity alone) to 1 (relevance alone)"
        )


def _check_window(who: str, window: int | None) -> None:
    if window is not None and (not isinstance(window, int) or window < 1):
        raise ConfigError(
            f"{who} has window={window}; it must be 1 or more items, or None for the whole page"
        )
