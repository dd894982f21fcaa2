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


def whole_and_sampled(rate: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels of 1000 samples, 200 clicked of which 60 are liked, as are 80 of the others; and of those kept at a rate."""
    clicked = torch.arange(1000) < 200
    liked = (torch.arange(1000) % 200) < torch.where(clicked, 60, 20)
    labels = torch.stack([clicked, liked], dim=1).float()
    keep = clicked | (torch.arange(1000) % round(1 / rate) == 0)
    return labels, labels[keep]


def minimiser(labels: torch.Tensor, rate: torch.Tensor | None) -> torch.Tensor:
    """The logits, one a task, that the loss is smallest at."""
    tasks = (Binary("is_click", rate="rate"), Binary("is_like"))
    logits = torch.zeros(2, dtype=torch.float32, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-9, tolerance_change=1e-12)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        total, _ = Loss(tasks)(logits.expand(len(labels), 2), labels, None, rate)
        total.backward()
        return total

    optimizer.step(closure)
    return logits.detach()


@pytest.mark.parametrize("rate", [0.5, 0.25, 0.1])
def test_a_down_sampled_stream_teaches_the_probabilities_of_the_whole_one(rate: float) -> None:
    labels, sampled = whole_and_sampled(rate)
    assert len(sampled) == 200 + 800 * rate
    expected = torch.logit(labels.mean(dim=0))
    torch.testing.assert_close(minimiser(labels, None), expected, atol=1e-3, rtol=0)
    found = minimiser(sampled, torch.full((len(sampled),), rate))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    plain = minimiser(sampled, None)
    odds = math.log(200 / (800 * rate))
    torch.testing.assert_close(plain[0].item(), odds, atol=1e-3, rtol=0)
    assert abs(plain[1] - expected[1]) > 0.1, "without a correction the other task is off, too"


def test_the_correction_is_the_logit_minus_the_log_of_the_rate_and_weights_for_other_tasks() -> None:
    tasks = (Binary("is_click", rate="rate"), Binary("is_like"))
    logits, rate = torch.tensor([[0.3, 0.2], [-0.4, 0.9], [1.1, -0.5]]), torch.tensor([0.2, 0.2, 0.5])
    labels = torch.tensor([[1.0, 1.0], [0.0, 0.0], [NAN, 1.0]])
    total, per_task = Loss(tasks)(logits, labels, None, rate)
    click = (math.log1p(math.exp(-(0.3 - math.log(0.2)))) + math.log1p(math.exp(-0.4 - math.log(0.2)))) / 2
    like = (math.log1p(math.exp(-0.2)) + 5 * math.log1p(math.exp(0.9)) + math.log1p(math.exp(0.5))) / 7
    torch.testing.assert_close(per_task, torch.tensor([click, like]))
    torch.testing.assert_close(total, torch.tensor(click + like))


def test_a_rate_of_one_changes_nothing() -> None:
    tasks = (Binary("is_click", rate="rate"), Seconds("play_time_ms"))
    logits, labels = torch.randn(20, 2), torch.stack([(torch.rand(20) < 0.5).float(), torch.rand(20)], dim=1)
    for found, expected in zip(
        Loss(tasks)(logits, labels, None, torch.ones(20)), Loss(tasks)(logits, labels), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=0, rtol=0)
