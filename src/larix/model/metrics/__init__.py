"""Streaming metrics in bounded memory: how well scores rank and predict. Knows neither torch nor the data."""

from larix.model.metrics.metrics import Metrics
from larix.model.metrics.sketch import Sketch
from larix.model.metrics.tally import BinaryTally, RegressionTally
from larix.model.metrics.users import Users, gauc, xauc

__all__ = ["BinaryTally", "Metrics", "RegressionTally", "Sketch", "Users", "gauc", "xauc"]
