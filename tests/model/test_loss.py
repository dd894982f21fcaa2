import math

import pytest
import torch

from larix.errors import ConfigError
from larix.features import Binary, Seconds
from larix.model.loss import Loss, LossConfig

TASKS = (Binary("is_click"), Seconds("play_time_ms"))
NAN = float("nan")


def test_a_binary_task_is_cross_entropy_and_seconds_are_huber_of_their_log1p() -> None:
    logits = torch.tensor([[0.7, 2.0], [-1.2, 0.1]])
    labels = torch.tensor([[1.0, 9.0], [0.0, 40.0]])
    total, per_task = Loss(TASKS)(logits, labels)
    click = (math.log1p(math.exp(-0.7)) + math.log1p(math.exp(-1.2))) / 2
    small, large = math.log1p(9.0) - 2.0, math.log1p(40.0) - 0.1
    play = (0.5 * small**2 + (large - 0.5)) / 2
    torch.testing.assert_close(per_task, torch.tensor([click, play]))
    torch.testing.assert_close(total, torch.tensor(click + play))


def test_a_label_that_is_not_known_counts_for_nothing_and_gets_no_gradient() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    labels = torch.tensor([[1.0, NAN], [NAN, 3.0], [0.0, 5.0]])
    total, per_task = Loss(TASKS)(logits, labels)
    total.backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert logits.grad[1, 0] == 0
    assert torch.isfinite(logits.grad).all()
    known, _ = Loss(TASKS[:1])(logits[[0, 2], :1], labels[[0, 2], :1])
    torch.testing.assert_close(per_task[0], known.detach())


def test_a_task_without_any_label_has_loss_0_and_no_gradient() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    labels = torch.tensor([[NAN, 1.0], [NAN, 2.0], [NAN, 3.0]])
    total, per_task = Loss(TASKS)(logits, labels)
    total.backward()
    assert per_task[0] == 0
    assert torch.isfinite(total)
    assert logits.grad is not None
    assert logits.grad[:, 0].abs().sum() == 0


def test_a_sample_of_weight_2_counts_as_two_samples_and_one_of_weight_0_as_none() -> None:
    logits, labels = torch.randn(3, 2), torch.tensor([[1.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
    weighted, _ = Loss(TASKS)(logits, labels, torch.tensor([2.0, 1.0, 0.0]))
    repeated, _ = Loss(TASKS)(logits[[0, 0, 1]], labels[[0, 0, 1]])
    torch.testing.assert_close(weighted, repeated)


def test_tasks_count_by_their_weights() -> None:
    logits, labels = torch.randn(3, 2), torch.tensor([[1.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
    total, per_task = Loss(TASKS, LossConfig(weights={"play_time_ms": 0.25}))(logits, labels)
    torch.testing.assert_close(total, per_task[0] + 0.25 * per_task[1])


def test_bfloat16_logits_are_compared_in_float32() -> None:
    total, per_task = Loss(TASKS)(torch.randn(3, 2).bfloat16(), torch.zeros(3, 2))
    assert total.dtype == per_task.dtype == torch.float32


def test_a_weight_for_a_task_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\['clck'\]; the tasks are \['is_click', 'play_time_ms'\]"):
        Loss(TASKS, LossConfig(weights={"clck": 2.0}))


@pytest.mark.parametrize("weight", [-1.0, NAN, float("inf")])
def test_a_weight_must_be_finite_and_not_negative(weight: float) -> None:
    with pytest.raises(ConfigError, match="finite and 0 or above"):
        LossConfig(weights={"is_click": weight})


def test_huber_must_be_above_0() -> None:
    with pytest.raises(ConfigError, match=r"LossConfig\.huber is 0"):
        LossConfig(huber=0)
