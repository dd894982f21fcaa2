"""The KuaiRand recipe: the multi-task ranker on a short-video feed log. Knows nothing of how training goes on."""

from functools import partial
from typing import Any

import torch

from larix import features as fx
from larix.data import kuairand_events, kuairand_since
from larix.embedding import Normal, RowAdagrad
from larix.feed import SSD, ValueModel, WeightedSum
from larix.model.attention import AttentionConfig
from larix.model.gates import MMoEConfig
from larix.model.history import HistoryConfig
from larix.model.loss import LossConfig
from larix.model.ranker import Ranker, RankerConfig
from larix.recipes.feed import feed
from larix.recipes.live import Live
from larix.recipes.pages import Pages
from larix.recipes.recipe import Recipe
from larix.train import Schedule, Settings
from larix.train.online import OnlineSettings

HOUR = 3600.0
_USER = (
    "user", *(f"onehot_feat{i}" for i in range(18)), "active_degree", "low_active", "live_streamer", "video_author",
    "follows", "fans", "friends", "registered",
)  # fmt: skip
_COUNTED = ("video", "author")
_OUTCOMES = ("clicked", "long_viewed", "liked")


def sample() -> fx.Sample:
    """What a sample is, over the columns that ``data.kuairand.prepare`` writes.

    The user's running counts are left out: what they tell that is old enough to use, the history tells too (see
    ``HistoryConfig``). The video's and author's are about other users' impressions and stay fresh.
    """
    columns: dict[str, Any] = {f"onehot_feat{i}": fx.Id(f"onehot_feat{i}", dim=4) for i in range(18)}
    for name in (f"{owner}_{what}" for owner in _COUNTED for what in ("shown", *_OUTCOMES)):
        columns[name] = fx.Dense(name, transform="log1p")
    return fx.Sample(
        user=fx.Id("user_id", dim=8),
        video=fx.Id("video_id", dim=16),
        author=fx.Id("author_id", dim=8),
        music=fx.Id("music_id", dim=8),
        tag=fx.Ids("tag", dim=8, pool="mean"),
        tab=fx.Id("tab", dim=8),
        hour=fx.Hour("time_ms", dim=4),
        duration=fx.Bucket("duration_ms", quantiles=32, dim=8),
        video_age=fx.Bucket("video_age_days", quantiles=16, dim=4),
        video_type=fx.Id("video_type", dim=4),
        upload_type=fx.Id("upload_type", dim=4),
        active_degree=fx.Id("user_active_degree", dim=4),
        low_active=fx.Id("is_lowactive_period", dim=4),
        live_streamer=fx.Id("is_live_streamer", dim=4),
        video_author=fx.Id("is_video_author", dim=4),
        follows=fx.Bucket("follow_user_num", quantiles=16, dim=4),
        fans=fx.Bucket("fans_user_num", quantiles=16, dim=4),
        friends=fx.Bucket("friend_user_num", quantiles=16, dim=4),
        registered=fx.Bucket("register_days", quantiles=16, dim=4),
        **columns,
        history=fx.Sequence(
            video="hist_video_id",
            author="hist_author_id",
            tag="hist_tag",
            tab="hist_tab",
            click=fx.Dense("hist_click"),
            long_view=fx.Dense("hist_long_view"),
            like=fx.Dense("hist_like"),
            play=fx.Dense("hist_play_ms", transform="log1p"),
            duration=fx.Dense("hist_duration_ms", transform="log1p"),
            age=fx.LogAge("hist_time_ms"),
            newest=50,
        ),
        past=fx.Sequence(
            video=fx.Id("past_watched", table="video"),
            long_view=fx.Dense("past_watched_long_viewed"),
            like=fx.Dense("past_watched_liked"),
            newest=50,
        ),
        tasks=(
            fx.Binary("is_click"),
            fx.Binary("long_view"),
            fx.Binary("is_like"),
            fx.Binary("is_profile_enter"),
            fx.Seconds("play_time_ms"),
        ),
        group="user_id",
        scene="tab",
        time="time_ms",
    )


def config(settle_hours: float = 48.0) -> RankerConfig:
    """The widths of the network and which slot plays which part; ``settle_hours``: see ``HistoryConfig.settle``."""
    attention = AttentionConfig(width=32, heads=4)
    return RankerConfig(
        target=("video", "author", "tag", "tab", "duration"),
        scene="tab",
        histories={
            "history": HistoryConfig(
                age="age",
                outcomes=("click", "long_view", "like", "play"),
                settle=settle_hours * HOUR,
                attention=attention,
            ),
            "past": HistoryConfig(attention=attention),
        },
        rates=tuple((f"{owner}_{what}", f"{owner}_shown") for owner in _COUNTED for what in _OUTCOMES),
        mmoe=MMoEConfig(experts=4, widths=(128, 64), dropout=0.2),
        tower=32,
        dropout=0.2,
    )


def pages() -> Pages:
    """How the scores become pages: what a long view and what follows from it are worth, in long views."""
    counts = [f"{owner}_{what}" for owner in _COUNTED for what in ("shown", *_OUTCOMES)]
    columns = ("video_id", "author_id", "music_id", "tag", "duration_ms", "video_age_days", "video_type")
    weights = {"is_click": 0.5, "long_view": 1.0, "is_like": 5.0, "is_profile_enter": 5.0}
    return Pages(
        value=ValueModel(fusion=WeightedSum(weights=weights)),
        item="video",
        columns=(*columns, "upload_type", *counts),
        categories=("author", "tag"),
        diversity=SSD(gamma=0.2, window=5),  # gives up .3% of relevance: docs/feed.md
    )


def live() -> Live:
    """How a run goes on online: items and the network learn, what it knows of users stays as it was trained.

    A user's rows, and those that its histories read, are alike in all its impressions; learned from the last taps, they tell
    who is in a mood to click and mislead within the user, as fresh outcomes do (see ``HistoryConfig.settle``). The network's
    rate does not decay, so its moving average (``Settings.average``) is what answers. Chosen on days before the test.
    """
    return Live(
        unjoin=kuairand_events.unjoin,
        item="video_id",
        since=kuairand_since.since,
        acts={
            "like": {"is_click": 1, "long_view": 1, "is_like": 1, "play_time_ms": 40_000},
            "watch": {"is_click": 1, "long_view": 1, "play_time_ms": 40_000},
            "skip": {"play_time_ms": 500},
        },
        ignored={"play_time_ms": 1500},
        still=(*_USER, "history", "past"),
        settings=OnlineSettings(
            batch_size=256,
            span_s=1800.0,
            publish_every_s=1.0,
            dense_every_s=2.0,
            save_every_s=30.0,
            window_s=6 * HOUR,
            dense_scale=0.3,
            rows_scale=0.5,
        ),
    )


def kuairand(
    *,
    data: str | None = None,
    train_to: str | None = None,
    test_from: str | None = None,
    test_to: str | None = None,
    gap: int = 0,
    seed: int = 0,
    epochs: int = 2,
    batch_size: int = 256,
    lr: float = 1e-3,
    rows_lr: float = 0.05,
    settle_hours: float = 48.0,
    average: float = 0.98,
    bf16: bool = False,
    staleness: int = 0,
    device: str = "cpu",
) -> Recipe:
    """Train on KuaiRand's log in the folder ``data`` (or a synthetic feed) up to the day ``train_to``.

    ``test_from`` and ``test_to``: the days to test on, the last two unless told otherwise. Days are ISO dates and
    inclusive. ``gap``: so many days before the test are not trained on, for a replay to learn from. ``rows_lr``: the rows'
    learning rate, ``lr`` the network's. ``settle_hours``: outcomes of a user's events stay hidden from the ranker for so
    long. The others are ``train.Settings``'s.
    """
    schedule = Schedule(warmup_steps=100, decay="cosine", floor=0.05)
    return Recipe(
        sample=sample(),
        ranker=lambda sample: Ranker(sample, config(settle_hours)),
        feed=partial(feed, data, train_to=train_to, test_from=test_from, test_to=test_to, gap=gap),
        # Few samples an id: a state that is not born as 0 keeps an id's first steps, which know one sample, short.
        rows=RowAdagrad(lr=rows_lr, initial=1e-4),
        init=Normal(std=0.01),
        dense=partial(torch.optim.AdamW, lr=lr, weight_decay=0.0),
        settings=Settings(
            batch_size=batch_size,
            epochs=epochs,
            shuffle=1 << 18,
            bf16=bf16,
            staleness=staleness,
            device=device,
            loss=LossConfig(weights={"is_like": 2.0, "is_profile_enter": 3.0, "play_time_ms": 0.1}),
            dense_schedule=schedule,
            rows_schedule=schedule,
            clip_norm=5.0,
            average=average,
            seed=seed,
        ),
        live=live(),
        pages=pages(),
    )
