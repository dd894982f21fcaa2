import numpy as np
import pytest
import torch

from larix import features as fx
from larix.compile import blocks, capture_ranker, cost, optimise, tensors_of
from larix.compile.feeds import parts_of
from larix.compile.run import run
from larix.errors import ConfigError
from larix.model import HistoryConfig, Inputs, Ranker, RankerConfig, SequenceInput
from larix.model.attention import AttentionConfig
from larix.model.gates import MMoEConfig
from larix.model.inputs import columns_of

ROWS = 6


def sample():
    return fx.Sample(
        user=fx.Id("user", dim=6),
        video=fx.Id("video", dim=4),
        tab=fx.Id("tab", dim=2),
        shown=fx.Dense("shown", transform="log1p"),
        clicked=fx.Dense("clicked", transform="log1p"),
        history=fx.Sequence(video="h_video", click=fx.Dense("h_click"), age=fx.LogAge("h_time"), newest=5),
        tasks=(fx.Binary("click"), fx.Seconds("play")),
        time="time",
    )


def ranker():
    torch.manual_seed(0)
    config = RankerConfig(
        target=("video", "tab"),
        scene="tab",
        histories={
            "history": HistoryConfig(
                age="age",
                outcomes=("click",),
                settle=60.0,
                width=8,
                attention=AttentionConfig(width=8, heads=2),
            )
        },
        rates=(("clicked", "shown"),),
        mmoe=MMoEConfig(experts=2, widths=(16, 8), dropout=0.1),
        tower=8,
    )  # fmt: skip
    made = Ranker(sample(), config)
    with torch.no_grad():
        made.gate.scale.weight.normal_(0, 0.3)
    return made.eval()


def one_request(seed=0):
    """Inputs as Embed gives them, for the candidates of one user; one event of the history is padding."""
    draw = torch.Generator().manual_seed(seed)
    whole = torch.rand(ROWS, 14, generator=draw)
    whole[:, :6] = whole[0, :6]
    rows, dense = torch.rand(1, 5, 4, generator=draw), torch.rand(1, 5, 2, generator=draw) * 8
    mask = torch.tensor([[True, True, True, True, False]])
    rows[:, 4], dense[:, 4] = torch.nan, torch.nan
    history = SequenceInput(
        rows=rows.expand(ROWS, -1, -1),
        columns=columns_of({"video": 4}),
        mask=mask.expand(ROWS, -1),
        dense=dense.expand(ROWS, -1, -1),
    )
    columns = columns_of({"user": 6, "video": 4, "tab": 2})
    return Inputs(
        pooled=whole[:, :12],
        columns=columns,
        dense=whole[:, 12:],
        sequences={"history": history},
        whole=whole,
    )


def test_the_ranker_compiled_gives_the_rankers_logits_from_the_user_and_the_history_once():
    net, inputs = ranker(), one_request()
    graph = capture_ranker(sample(), net, ["user", "history"])
    small, steps = optimise(graph)
    arrays = parts_of(graph.inputs, small, {name: each.numpy() for name, each in tensors_of(inputs).items()})
    assert arrays["joined.request"].shape == (1, 6)
    assert arrays["history.rows"].shape == (1, 5, 4)
    found = run(
        small, {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in arrays.items()}, ROWS
    )
    torch.testing.assert_close(found["output"], net(inputs).detach(), rtol=1e-5, atol=1e-5)
    assert {step.rule for step in steps} >= {"drop", "common", "hoist"}
    assert cost(small, 500).flops < cost(graph, 500).flops / 1.4


def test_the_scene_gate_is_named_as_what_blocks_hoisting():
    graph = capture_ranker(sample(), ranker(), ["user", "history"])
    assert blocks(graph)[0].where.startswith("ranker.gate (gates.py:")


def test_a_name_that_the_sample_has_not_is_refused():
    with pytest.raises(
        ConfigError, match=r"per_request names \['usr'\]; the sample has \['clicked', 'history'"
    ):
        capture_ranker(sample(), ranker(), ["usr"])
