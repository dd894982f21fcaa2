"""What forgetting costs: a feed replayed day by day through a store that holds 30% of its rows, policy by policy.

Every batch is predicted before it is trained on, once (prequential; Gama et al., 2013). The figure is the AUC of those
predictions over the days counted; the loss is that against a store without a limit, of the same seed. ``--quick``: one seed
of the real log. Policies and the network were chosen on days up to 2022-05-04 of the real log; the two after them are told
apart (``test``).
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import emit
from rich.console import Console
from torch import Tensor, nn

from larix import features as fx
from larix.batch import Batch
from larix.data import Files
from larix.embedding import (
    FeatureScore,
    LeastFrequent,
    LeastRecent,
    Normal,
    RowAdagrad,
    Tables,
    TableSpec,
)
from larix.embedding.eviction import Eviction
from larix.embedding.plan import plan
from larix.model import Embed, Loss, LossConfig
from larix.model.inputs import Inputs
from larix.model.metrics import Metrics
from larix.recipes.feed import feed, find
from larix.train import Settings
from larix.train.step import Learner, step

SHARE = 0.3
DAY = 86_400
DIM = 16
LIMITED = ("user", "video", "author", "music", "tag")  # tables that grow with the log
POLICIES: dict[str, Eviction | None] = {
    "unlimited": None,
    "LRU": LeastRecent(),
    "LFU": LeastFrequent(),
    "LFU 2 days": LeastFrequent(half_life=2.0 * DAY),
    "score 2 days": FeatureScore(show=0.1, click=1.0, half_life=2.0 * DAY),
}


def sample() -> fx.Sample:
    return fx.Sample(
        user=fx.Id("user_id", dim=DIM),
        video=fx.Id("video_id", dim=DIM),
        author=fx.Id("author_id", dim=DIM),
        music=fx.Id("music_id", dim=DIM),
        tag=fx.Ids("tag", dim=DIM, pool="mean"),
        tab=fx.Id("tab", dim=DIM),
        hour=fx.Hour("time_ms", dim=DIM),
        duration=fx.Bucket("duration_ms", quantiles=32, dim=DIM),
        history=fx.Sequence(video="hist_video_id", author="hist_author_id", newest=20),
        past=fx.Sequence(video=fx.Id("past_watched", table="video"), newest=20),
        tasks=(fx.Binary("is_click"), fx.Binary("long_view")),
        group="user_id",
        time="time_ms",
    )


class Network(nn.Module):
    """An MLP over the pooled rows and the means of the sequences."""

    def __init__(self, sample: fx.Sample) -> None:
        super().__init__()
        width = DIM * (
            len(sample.id_slots) + sum(len(sequence.ids) for sequence in sample.sequences.values())
        )
        self.layers = nn.Sequential(
            nn.Linear(width, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, len(sample.tasks)),
        )

    def forward(self, inputs: Inputs) -> Tensor:
        parts = [inputs.pooled]
        for sequence in inputs.sequences.values():
            mask = sequence.mask.unsqueeze(2).float()
            parts.append((sequence.rows * mask).sum(1) / mask.sum(1).clamp(min=1))
        out: Tensor = self.layers(torch.cat(parts, dim=1))
        return out


def batches(declared: fx.Sample, source: Files, day: str, size: int) -> Iterator[tuple[int, Batch]]:
    """The batches of a day in order of time, each with the second it begins in."""
    with source.between(day, day).stream(columns=declared.columns, batch_size=size) as stream:
        for records in stream:
            yield int(records["time_ms"][0].as_py()) // 1000, declared.transform(records)


def replay(
    declared: fx.Sample,
    source: Files,
    days: list[str],
    policy: Eviction | None,
    budget: int | None,
    seed: int,
    size: int = 256,
) -> dict[str, Any]:
    """Predict and train through the days; metrics by day, and what the store did."""
    torch.manual_seed(seed)
    specs = [
        TableSpec(
            name=name,
            dim=dim,
            optimizer=RowAdagrad(lr=0.05, initial=1e-4),
            init=Normal(std=0.01),
            eviction=policy if name in LIMITED else None,
        )
        for name, dim in declared.tables.items()
    ]
    tables = Tables(specs, seed=seed, threads=1, memory_budget=budget, background=False)
    embed, network = Embed(declared, tables), Network(declared)
    settings = Settings(batch_size=size, click="is_click", seed=seed)
    learner = Learner(
        ranker=network,
        embed=embed,
        optimizer=torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0),
        loss=Loss(declared.tasks, LossConfig()),
    )
    measured = {}
    for day in days:
        metrics = Metrics(declared.tasks)
        for now, batch in batches(declared, source, day, size):
            tables.clock = now
            with torch.inference_mode():
                scores = network(embed(batch, train=False)).numpy()
            assert batch.labels is not None
            metrics.update(scores, batch.labels, batch.weight, batch.group)
            step(learner, batch, embed(batch, train=True), settings)
        measured[day] = metrics.compute()["tasks"]
    return {
        "days": measured,
        "stats": tables.stats(),
        "rows": {name: tables.rows(name) for name in tables.specs},
    }
