"""The net of `net.py` behind raw features, as a recipe: 30 ids of 32 numbers and 64 plain numbers, random samples.

What it learns is nothing; its rows are there and its work is that of a real one. Knows nothing of serving.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from net import TASKS, Net
from rich.console import Console

from larix import data
from larix import features as fx
from larix.embedding import Uniform
from larix.feed import ValueModel, WeightedSum
from larix.model.inputs import Inputs
from larix.recipes.feed import Feed
from larix.recipes.pages import Pages
from larix.recipes.recipe import Recipe
from larix.train import Settings

DIM = 32
USER_IDS = [f"user_{at}" for at in range(18)]
ITEM_IDS = [f"item_{at}" for at in range(12)]
USER_NUMBERS = [f"user_number_{at}" for at in range(38)]
ITEM_NUMBERS = [f"item_number_{at}" for at in range(26)]
LABELS = [f"label_{at}" for at in range(TASKS)]


class Ranker(torch.nn.Module):
    def __init__(self, sample: fx.Sample) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = Net()

    def forward(self, inputs: Inputs) -> torch.Tensor:
        logits: torch.Tensor = self.net(inputs.joined)
        return logits


def recipe(*, rows: int = 50_000) -> Recipe:
    """``rows``: ids of each of the 30 tables, 0 and up."""
    ids = {name: fx.Id(name, dim=DIM) for name in [*USER_IDS, *ITEM_IDS]}
    numbers = {name: fx.Dense(name) for name in [*USER_NUMBERS, *ITEM_NUMBERS]}
    return Recipe(
        sample=fx.Sample(**ids, **numbers, tasks=[fx.Binary(name) for name in LABELS], group=USER_IDS[0]),
        ranker=Ranker,
        feed=partial(feed, rows),
        init=Uniform(scale=0.05),
        settings=Settings(batch_size=4096, epochs=1, shuffle=0),
        pages=Pages(
            value=ValueModel(fusion=WeightedSum(weights=dict.fromkeys(LABELS, 1.0))),
            item=ITEM_IDS[0],
            columns=(*ITEM_IDS, *ITEM_NUMBERS),
        ),
    )


def feed(rows: int, folder: Path, console: Console) -> Feed:
    """Random samples: those to train on have every id once, so that every row is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, size, seed in (("train", rows, 1), ("test", 4096, 2)):
        path = folder / f"net-{name}-{rows}.parquet"
        if not path.exists():
            random = np.random.default_rng(seed)
            columns = {each: random.permutation(rows)[:size] for each in [*USER_IDS, *ITEM_IDS]}
            for each in [*USER_NUMBERS, *ITEM_NUMBERS]:
                columns[each] = random.standard_normal(size).round(3).astype(np.float32)
            for each in LABELS:
                columns[each] = random.integers(0, 2, size).astype(np.int8)
            pq.write_table(pa.table(columns), path)
    found = [data.files(str(folder / f"net-{name}-{rows}.parquet")) for name in ("train", "test")]
    return Feed(train=found[0], test=found[1])
