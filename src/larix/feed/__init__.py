"""From scores to a page: choosing for relevance and diversity at once."""

from larix.feed.diversity import DPP, MMR, SSD, Diversity
from larix.feed.kernels import Page

__all__ = ["DPP", "MMR", "SSD", "Diversity", "Page"]
