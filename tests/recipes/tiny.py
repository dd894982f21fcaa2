"""A recipe that trains in a second: a few features of the KuaiRand feed and a plain network."""

from functools import partial

import torch

from larix import features as fx
from larix import train
from larix.data import kuairand_events
from larix.embedding import RowAdagrad
from larix.model.inputs import Inputs
from larix.recipes import Recipe
from larix.recipes.feed import feed
from larix.recipes.live import Live
from larix.train.online import OnlineSettings


def sample(dim: int, weight: str | None) -> fx.Sample:
    return fx.Sample(
        user=fx.Id("user_id", dim=8),
        video=fx.Id("video_id", dim=dim),
        active=fx.Id("user_active_degree", dim=4),
        tags=fx.Ids("tag", dim=4),
        length=fx.Dense("duration_ms", transform="log1p", standardise=True),
        tasks=(fx.Binary("is_click"), fx.Binary("long_view"), fx.Seconds("play_time_ms")),
        weight=weight,
        group="user_id",
        scene="tab",
        time="time_ms",
    )


class Net(torch.nn.Module):
    def __init__(self, declared: fx.Sample) -> None:
        super().__init__()
        width = sum(slot.dim for slot in declared.id_slots.values()) + len(declared.dense)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(width, 16), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(16, 3)
        )

    def forward(self, inputs: Inputs) -> torch.Tensor:
        logits: torch.Tensor = self.layers(torch.cat([inputs.pooled, inputs.dense], dim=1))
        return logits


def tiny(
    *,
    data: str | None = None,
    train_to: str | None = None,
    test_from: str | None = None,
    test_to: str | None = None,
    seed: int = 0,
    epochs: int = 1,
    steps: int = 0,
    batch_size: int = 128,
    save_every: int = 0,
    lr: float = 0.01,
    dim: int = 8,
    weight: str | None = None,
) -> Recipe:
    return Recipe(
        sample=sample(dim, weight),
        ranker=Net,
        feed=partial(
            feed,
            data,
            train_to=train_to,
            test_from=test_from,
            test_to=test_to,
            simulate={"users": 60, "items": 80, "new_items": 3, "days": 3, "impressions": 900},
        ),
        rows=RowAdagrad(lr=0.05),
        dense=partial(torch.optim.AdamW, lr=lr),
        settings=train.Settings(
            batch_size=batch_size,
            epochs=epochs,
            steps=steps,
            save_every=save_every,
            shuffle=0,
            seed=seed,
            average=0.9,
        ),
        live=Live(
            unjoin=kuairand_events.unjoin,
            item="video_id",
            still=("user",),
            settings=OnlineSettings(
                batch_size=64, span_s=7200.0, publish_every_s=0.2, dense_every_s=0.5, save_every_s=0.5
            ),
        ),
    )
