import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from larix.embedding import SGD, CosineDecay, InverseSqrtDecay, StepDecay, TableSpec, Warmup, reference, table
from larix.errors import ConfigError

SCHEDULES = [
    CosineDecay(steps=7, floor=0.1),
    CosineDecay(steps=40),
    InverseSqrtDecay(steps=3),
    StepDecay(every=4, ratio=0.3),
    Warmup(steps=5),
    Warmup(steps=1, then=StepDecay(every=1, ratio=0.9)),
    Warmup(steps=6, then=CosineDecay(steps=9)),
    Warmup(steps=6, then=InverseSqrtDecay(steps=6)),
]


def torch_factors(make, steps):
    """What torch's scheduler multiplies lr by, step by step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, factors = make(optimizer), []
    for _ in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


def test_decays_follow_those_of_torch():
    cosine, stairs = CosineDecay(steps=20, floor=0.25), StepDecay(every=3, ratio=0.5)
    ours = [cosine.factor(step) for step in range(21)]
    lr_scheduler = torch.optim.lr_scheduler
    assert ours == pytest.approx(torch_factors(lambda o: lr_scheduler.CosineAnnealingLR(o, 20, 0.25), 21))
    ours = [stairs.factor(step) for step in range(30)]
    assert ours == torch_factors(lambda o: lr_scheduler.StepLR(o, 3, 0.5), 30)


def test_a_warm_up_rises_by_equal_steps_to_one_and_hands_over_from_there():
    assert [Warmup(steps=4).factor(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    then = StepDecay(every=2, ratio=0.5)
    assert [Warmup(steps=2, then=then).factor(step) for step in range(7)] == [0.5, 1, 1, 1, 0.5, 0.5, 0.25]


def test_an_inverse_square_root_after_a_warm_up_is_that_of_the_transformer():
    schedule = Warmup(steps=100, then=InverseSqrtDecay(steps=100))
    for step in (0, 50, 99, 100, 1_000, 10**9):
        attention = (
            min((step + 1) ** -0.5, (step + 1) * 100**-1.5) * 10
        )  # with its d_model of 1, scaled to a peak of 1
        assert schedule.factor(step) == pytest.approx(attention, rel=0.006)


def test_far_beyond_its_end_a_decay_stays_where_it_ended():
    assert CosineDecay(steps=10, floor=0.5).factor(10**15) == 0.5
    assert StepDecay(every=1).factor(10**15) == 0.0
    assert 0 < InverseSqrtDecay(steps=1).factor(10**15) < 1e-7


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_core_computes_the_same_factors(schedule):
    """lr 1, gradient 1, weight 0: the first weight after a step is minus the factor in float32."""
    spec = TableSpec(name="a", dim=1, optimizer=SGD(lr=1.0, schedule=schedule))
    ids, one = np.array([1]), np.ones((1, 1), np.float32)
    for step in [*range(50), 10**6, 2**40]:
        for tables in (reference.Tables([spec]), table.Tables([spec], threads=1)):
            tables.put("a", ids, one * 0, np.zeros((1, 0), np.float32))
            tables.steps = step
            tables.update("a", ids, one)
            assert tables.steps == step + 1
            assert tables.lookup("a", ids)[0, 0] == -np.float32(schedule.factor(step))


def test_tables_of_one_store_keep_their_own_schedules(store):
    sgd = SGD(lr=1.0, schedule=Warmup(steps=2))
    specs = [TableSpec(name="a", dim=1, optimizer=sgd)]
    specs += [TableSpec(name="b", dim=1, optimizer=replace(sgd, schedule=None))]
    tables, ids, one = store(specs), np.array([1]), np.ones((1, 1), np.float32)
    for name in "ab":
        tables.put(name, ids, 0 * one, np.zeros((1, 0), np.float32))
        tables.update(name, ids, one)  # the store's steps 0 and 1
    tables.update("a", ids, one)
    assert tables.lookup("a", ids)[0, 0] == -1.5
    assert tables.lookup("b", ids)[0, 0] == -1.0


def test_a_call_that_is_refused_is_no_step(store):
    tables = store([TableSpec(name="a", dim=1)])
    with pytest.raises(ConfigError):
        tables.update("a", np.array([1]), np.ones((1, 2), np.float32))
    with pytest.raises(ConfigError, match="steps is -1; it must be"):
        tables.steps = -1
    assert tables.steps == 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Warmup(steps=0), "Warmup.steps is 0; it must be a whole number between 1 and"),
        (lambda: Warmup(steps=1.5), "Warmup.steps is 1.5"),
        (
            lambda: Warmup(steps=3, then=Warmup(steps=3)),
            r"Warmup.then is Warmup\(.*\); it must be a CosineDecay",
        ),
        (lambda: CosineDecay(steps=3, floor=1.5), r"CosineDecay.floor is 1.5; it must be in \[0, 1\)"),
        (lambda: InverseSqrtDecay(steps=2**60), "InverseSqrtDecay.steps is"),
        (lambda: StepDecay(every=-1), "StepDecay.every is -1"),
        (lambda: StepDecay(every=1, ratio=math.nan), "StepDecay.ratio is nan"),
    ],
)
def test_a_setting_out_of_range_is_named(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make()
