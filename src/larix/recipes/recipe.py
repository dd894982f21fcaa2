"""A recipe: what to train on what. Knows no data set, no network and nothing of how a run is carried out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from larix.embedding import RowAdagrad, Uniform
from larix.embedding.init import Init
from larix.features import Sample
from larix.recipes.feed import Feed
from larix.recipes.live import Live
from larix.recipes.pages import Pages
from larix.train import Settings
from larix.train.learner import Dense
from larix.train.specs import Rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What to train on what.

    ``feed``: makes the samples ready, in the folder it is given if they have to be written, and tells a console how far
    it is. ``ranker``: makes the network for the sample. ``rows``, ``init``, ``dense``, ``settings``: see ``train.fit``.
    ``live``: how its runs go on online, None if they do not.
    ``pages``: how scores become pages, if they are to; the report then shows what diversity costs. ConfigError if the
    sample does not have what they speak of.
    """

    sample: Sample
    ranker: Callable[[Sample], nn.Module]
    feed: Callable[[Path, Console], Feed]
    rows: Rows = RowAdagrad()
    init: Init = Uniform()
    dense: Dense = torch.optim.AdamW
    settings: Settings = Settings()
    live: Live | None = None
    pages: Pages | None = None

    def __post_init__(self) -> None:
        if self.pages is not None:
            self.pages.check(self.sample)
