"""The engine: requests through features, rows, network and page, as many at once as the machine can take, and no more."""

from larix.serve.engine.costs import Costs
from larix.serve.engine.engine import Engine
from larix.serve.engine.job import PageMaker, Target
from larix.serve.engine.page import Pages
from larix.serve.engine.settings import EngineSettings

__all__ = [
    "Costs",
    "Engine",
    "EngineSettings",
    "PageMaker",
    "Pages",
    "Target",
]
