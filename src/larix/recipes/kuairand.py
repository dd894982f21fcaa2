"""The KuaiRand feed: its sample and ranker. Draft."""

from functools import partial

import torch

from larix import features as fx
from larix.embedding import Normal, RowAdagrad
from larix.model.attention import *
from larix.model.gates import *
from larix.model.history import *
from larix.model.ranker import *
from larix.recipes.feed import feed
from larix.recipes.recipe import Recipe
from larix.train import Schedule, Settings

COUNTERS = tuple(
    f"{owner}_{what}"
    for owner in ("video", "author")
    for what in ("shown", "clicked", "long_viewed", "liked")
)


def sample() -> fx.Sample:
    """KuaiRand sample."""
    onehots = {f"onehot{i}": fx.Id(f"onehot_feat{i}", dim=4) for i in range(18)}
    counters = {name: fx.Dense(name, transform="log1p") for name in COUNTERS}
    return fx.Sample(
        user=fx.Id("user_id", dim=8),
        video=fx.Id("video_id", dim=16),
        author=fx.Id("author_id", dim=8),
        music=fx.Id("music_id", dim=8),
        tag=fx.Ids("tag", dim=8, pool="mean"),
        tab=fx.Id("tab", dim=8),
        hour=fx.Hour("time_ms", dim=4),
        length=fx.Bucket("duration_ms", quantiles=32, dim=8),
        upload_type=fx.Id("upload_type", dim=4),
        video_type=fx.Id("video_type", dim=4),
        video_age=fx.Bucket("video_age_days", quantiles=16, dim=4),
        active=fx.Id("user_active_degree", dim=4),
        low_active=fx.Id("is_lowactive_period", dim=4),
        streamer=fx.Id("is_live_streamer", dim=4),
        is_author=fx.Id("is_video_author", dim=4),
        follows=fx.Bucket("follow_user_num", quantiles=16, dim=4),
        fans=fx.Bucket("fans_user_num", quantiles=16, dim=4),
        friends=fx.Bucket("friend_user_num", quantiles=16, dim=4),
        registered=fx.Bucket("register_days", quantiles=16, dim=4),
        **onehots,
        **counters,
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


def config(settle=48 * 3600.0, drop=0.2):
    a = AttentionConfig(width=32, heads=4)
    return RankerConfig(
        target=("video", "author", "tag", "tab", "length"),
        scene="tab",
        histories={
            "history": HistoryConfig(
                age="age",
                outcomes=("click", "long_view", "like", "play"),
                settle=settle,
                width=32,
                attention=a,
            ),
            "past": HistoryConfig(width=32, attention=a),
        },
        rates=tuple(
            (f"{o}_{w}", f"{o}_shown")
            for o in ("video", "author")
            for w in ("clicked", "long_viewed", "liked")
        ),
        mmoe=MMoEConfig(experts=4, widths=(128, 64), dropout=drop),
        tower=32,
        dropout=drop,
    )


def kuairand(
    *,
    data=None,
    train_to=None,
    test_from=None,
    test_to=None,
    seed=0,
    epochs=2,
    batch_size=256,
    lr=1e-3,
    rows_lr=0.02,
    bf16=False,
    staleness=0,
    device="cpu",
) -> Recipe:
    return Recipe(
        sample=sample(),
        ranker=lambda s: Ranker(s, config()),
        feed=partial(feed, data, train_to=train_to, test_from=test_from, test_to=test_to),
        rows=RowAdagrad(lr=rows_lr, initial=1e-4),
        init=Normal(std=0.01),
        dense=partial(torch.optim.AdamW, lr=lr, weight_decay=0.0),
        settings=Settings(
            batch_size=batch_size,
            epochs=epochs,
            bf16=bf16,
            staleness=staleness,
            seed=seed,
            device=device,
            dense_schedule=Schedule(warmup_steps=100, decay="cosine", floor=0.05),
            rows_schedule=Schedule(warmup_steps=100, decay="cosine", floor=0.05),
            clip_norm=5.0,
            average=0.99,
        ),
    )
