"""From scores to a page: the value model of an item, and choosing for relevance and diversity at once."""

from larix.feed.calibration import Isotonic, Platt, fit_isotonic, fit_platt
from larix.feed.diversity import DPP, MMR, SSD, Diversity
from larix.feed.fusion import Fusion, PowerProduct, RankEnsemble, WeightedSum
from larix.feed.kernels import Page
from larix.feed.live import LiveValueModel
from larix.feed.value import Explanation, ValueModel

__all__ = [
    "DPP",
    "MMR",
    "SSD",
    "Diversity",
    "Explanation",
    "Fusion",
    "Isotonic",
    "LiveValueModel",
    "Page",
    "Platt",
    "PowerProduct",
    "RankEnsemble",
    "ValueModel",
    "WeightedSum",
    "fit_isotonic",
    "fit_platt",
]
