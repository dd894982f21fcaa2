import numpy as np
import problem
import pytest
import torch

from larix import features as fx
from larix import train
from larix.embedding import RowAdagrad, Tables, TableSpec
from larix.errors import ConfigError, NumericsError
from larix.model.mlp import MLPConfig, MLPRanker
from larix.train.learner import make_learner


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return problem.write(tmp_path_factory.mktemp("feed"))


@pytest.fixture(scope="module")
def sample(source):
    return problem.sample().fit(source.stream())


class Whole(MLPRanker):
    """The same network, of float32 inputs."""

    takes_bf16 = False


def learner_of(sample, ranker, **settings):
    torch.manual_seed(0)
    specs = [TableSpec(name=name, dim=dim) for name, dim in sample.tables.items()]
    return make_learner(sample, ranker(sample), Tables(specs), torch.optim.AdamW, train.Settings(**settings))


@pytest.mark.parametrize(
    ("ranker", "settings", "dtype"),
    [
        (MLPRanker, {"bf16": True}, torch.bfloat16),
        (MLPRanker, {}, torch.float32),
        (Whole, {"bf16": True}, torch.float32),
        (problem.Ranker, {"bf16": True}, torch.float32),
        # what a gradient is bound to is a float32, which bfloat16 may not have
        (MLPRanker, {"bf16": True, "clip_rows": 0.1}, torch.float32),
    ],
)
def test_inputs_are_bf16_for_a_ranker_that_takes_them_so_under_autocast(
    source, sample, ranker, settings, dtype
):
    learner = learner_of(sample, ranker, **settings)
    batch = sample.transform(next(iter(source.stream(batch_size=64))))
    assert learner.embed(batch, train=True).joined.dtype == dtype
    assert learner.embed(batch, train=False).joined.dtype == torch.float32


@pytest.mark.parametrize("more", [{}, {"clip_rows": 1e-3}, {"staleness": 2}, {"clip_norm": 0.1}])
def test_a_run_in_bf16_is_to_the_bit_the_one_whose_inputs_autocast_rounds(tmp_path, source, more):
    def run(ranker, name):
        torch.manual_seed(1)
        declared = problem.sample()
        return train.fit(
            declared,
            ranker(declared, MLPConfig(widths=(32, 16))),
            source,
            rows=RowAdagrad(lr=0.1),
            settings=train.Settings(bf16=True, batch_size=256, epochs=2, **more),
            folder=tmp_path / name,
        )

    ours, theirs = run(MLPRanker, "ours"), run(Whole, "theirs")
    for one, other in zip(ours.ranker.parameters(), theirs.ranker.parameters(), strict=True):
        assert torch.equal(one, other)
    for name in ours.sample.tables:
        for one, other in zip(ours.tables.items(name), theirs.tables.items(name), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_click_that_is_no_binary_task_is_refused(sample):
    with pytest.raises(ConfigError, match=r"Settings.click is 'play_ms'.*\['is_click'\]"):
        learner_of(sample, MLPRanker, click="play_ms")


def test_a_dense_optimizer_that_refuses_its_settings_is_told(sample):
    with pytest.raises(ConfigError, match="the dense optimizer refuses its settings"):
        make_learner(
            sample,
            MLPRanker(sample),
            Tables([]),
            lambda weights: torch.optim.SGD(weights, lr=-1.0),
            train.Settings(),
        )


def test_a_learning_rate_that_is_a_tensor_is_refused():
    declared = fx.Sample(age=fx.Dense("age"), tasks=(fx.Binary("click"),))
    with pytest.raises(ConfigError, match="lr is a tensor"):
        make_learner(
            declared,
            MLPRanker(declared),
            Tables([]),
            lambda weights: torch.optim.SGD(weights, lr=torch.tensor(0.1)),
            train.Settings(),
        )


def test_a_gradient_in_bf16_that_is_not_finite_stops_the_step_before_it_changes_anything(source, sample):
    learner = learner_of(sample, MLPRanker, bf16=True)
    batch = sample.transform(next(iter(source.stream(batch_size=64))))
    inputs = learner.embed(batch, train=True)
    inputs.joined.register_hook(lambda grad: grad.index_fill(0, torch.tensor([2]), torch.inf))
    weights = [weight.clone() for weight in learner.ranker.parameters()]
    rows = learner.embed.tables.items("user")[1]
    with pytest.raises(NumericsError, match="a gradient of the rows is inf"):
        train.step(learner, batch, inputs, train.Settings(bf16=True))
    assert all(torch.equal(*pair) for pair in zip(weights, learner.ranker.parameters(), strict=True))
    np.testing.assert_array_equal(learner.embed.tables.items("user")[1], rows)
