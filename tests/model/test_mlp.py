from collections.abc import Callable

import pytest
import torch

from larix.errors import ConfigError
from larix.features import Sample
from larix.model.inputs import Inputs
from larix.model.mlp import MLP, MLPConfig, MLPRanker


def test_every_layer_ends_in_relu() -> None:
    mlp = MLP(5, (7, 3))
    x = torch.randn(4, 5)
    first, second = mlp[0], mlp[2]
    expected = torch.relu(second(torch.relu(first(x))))
    assert torch.equal(mlp(x), expected)


def test_dropout_acts_in_training_only() -> None:
    mlp = MLP(5, (200,), dropout=0.5)
    x = torch.randn(4, 5)
    assert not torch.equal(mlp(x), mlp(x))
    mlp.eval()
    assert torch.equal(mlp(x), mlp(x))


def test_the_plain_ranker_gives_a_logit_a_task_from_pooled_vectors_and_dense_values(
    sample: Sample, make_inputs: Callable[[int], Inputs]
) -> None:
    ranker = MLPRanker(sample, MLPConfig(widths=(16, 8)))
    inputs = make_inputs(5)
    logits = ranker(inputs)
    assert logits.shape == (5, 3)
    x = torch.cat([inputs.pooled, inputs.dense], dim=1)
    assert torch.allclose(logits, ranker.out(ranker.hidden(x)))
    logits.sum().backward()
    assert inputs.pooled.grad is not None
    assert (inputs.pooled.grad.abs().sum(dim=0) > 0).all()


@pytest.mark.parametrize("widths", [(), (16, 0), (16, 2.5), (-1,)])
def test_widths_must_be_whole_numbers_above_0(widths: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"MLPConfig\.widths"):
        MLPConfig(widths=widths)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_must_be_a_probability_below_1(dropout: float) -> None:
    with pytest.raises(ConfigError, match=r"MLPConfig\.dropout is .*must be in \[0, 1\)"):
        MLPConfig(dropout=dropout)
