"""A small sample and random inputs for it, shared by the room's tests."""

from collections.abc import Callable

import pytest
import torch

from larix import features as fx
from larix.model.attention import AttentionConfig
from larix.model.gates import MMoEConfig
from larix.model.history import HistoryConfig
from larix.model.inputs import Inputs, SequenceInput, columns_of
from larix.model.ranker import RankerConfig

LENGTH = 6


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(7)


@pytest.fixture
def sample() -> fx.Sample:
    return fx.Sample(
        user=fx.Id("user_id", dim=4),
        video=fx.Id("video_id", dim=6),
        tab=fx.Id("tab", dim=3),
        shown=fx.Dense("video_shown", transform="log1p"),
        clicked=fx.Dense("video_clicked", transform="log1p"),
        history=fx.Sequence(
            video="hist_video_id",
            click=fx.Dense("hist_click"),
            age=fx.LogAge("hist_time_ms"),
            newest=LENGTH,
        ),
        past=fx.Sequence(video="past_watched", newest=LENGTH),
        tasks=(fx.Binary("is_click"), fx.Binary("is_like"), fx.Seconds("play_time_ms")),
        time="time_ms",
    )


@pytest.fixture
def config() -> RankerConfig:
    attention = AttentionConfig(width=8, heads=2)
    return RankerConfig(
        target=("video", "tab"),
        scene="tab",
        histories={
            "history": HistoryConfig(
                age="age", outcomes=("click",), settle=3600.0, width=8, attention=attention
            ),
            "past": HistoryConfig(width=8, attention=attention),
        },
        rates=(("clicked", "shown"),),
        mmoe=MMoEConfig(experts=3, widths=(16, 8)),
        tower=8,
    )


@pytest.fixture
def make_inputs(sample: fx.Sample) -> Callable[[int], Inputs]:
    """Random inputs of ``size`` samples, whose histories have 0, 1, 2 ... events in turn."""

    def make(size: int) -> Inputs:
        dims = {name: slot.dim for name, slot in sample.id_slots.items()}
        shown = torch.randint(0, 50, (size,))
        clicked = (shown * torch.rand(size)).floor()
        mask = torch.arange(LENGTH) < (torch.arange(size) % (LENGTH + 1)).unsqueeze(1)
        sequences = {}
        for name, slots in sample.sequences.items():
            widths = {element: slot.dim for element, slot in slots.ids.items()}
            dense = torch.zeros(size, LENGTH, len(slots.dense))
            if name == "history":
                dense[..., 0] = torch.randint(0, 2, (size, LENGTH))
                dense[..., 1] = torch.rand(size, LENGTH) * 14
            rows = torch.randn(size, LENGTH, sum(widths.values())) * mask.unsqueeze(-1)
            sequences[name] = SequenceInput(
                rows.requires_grad_(), columns_of(widths), mask, dense * mask.unsqueeze(-1)
            )
        pooled = torch.randn(size, sum(dims.values()), requires_grad=True)
        counts = torch.stack([shown.float(), clicked], dim=1).log1p()
        return Inputs(pooled, columns_of(dims), counts, sequences)

    return make
