from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from larix.errors import ConfigError
from larix.features import Sample
from larix.model.inputs import Inputs, SequenceInput
from larix.model.loss import Loss
from larix.model.ranker import Ranker, RankerConfig, Rates

MakeInputs = Callable[[int], Inputs]


def take(inputs: Inputs, index: torch.Tensor) -> Inputs:
    def some(sequence: SequenceInput) -> SequenceInput:
        return SequenceInput(
            sequence.rows[index], sequence.columns, sequence.mask[index], sequence.dense[index]
        )

    return replace(with_sequences(inputs, some), pooled=inputs.pooled[index], dense=inputs.dense[index])


def with_sequences(inputs: Inputs, change: Callable[[SequenceInput], SequenceInput]) -> Inputs:
    return replace(inputs, sequences={name: change(sequence) for name, sequence in inputs.sequences.items()})


def longer(sequence: SequenceInput) -> SequenceInput:
    """The same events with three more positions of rubbish behind them."""

    def pad(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, torch.full((x.shape[0], 3, x.shape[2]), float("nan"))], dim=1)

    mask = torch.cat([sequence.mask, torch.zeros(len(sequence.mask), 3, dtype=torch.bool)], dim=1)
    return replace(sequence, rows=pad(sequence.rows), dense=pad(sequence.dense), mask=mask)


@pytest.fixture
def ranker(sample: Sample, config: RankerConfig) -> Ranker:
    ranker = Ranker(sample, config)
    torch.nn.init.normal_(
        ranker.gate.scale.weight, std=0.1
    )  # born as zeros: a gate that does nothing hides mistakes
    return ranker


def test_it_gives_one_logit_a_task(ranker: Ranker, make_inputs: MakeInputs) -> None:
    logits = ranker(make_inputs(10))
    assert logits.shape == (10, 3)
    assert torch.isfinite(logits).all()


def test_padding_never_changes_a_logit(ranker: Ranker, make_inputs: MakeInputs) -> None:
    inputs = make_inputs(14)
    padded = replace(
        inputs, sequences={name: longer(sequence) for name, sequence in inputs.sequences.items()}
    )
    torch.testing.assert_close(ranker(inputs), ranker(padded))


def test_a_sample_is_scored_alike_whatever_else_is_in_the_batch(
    ranker: Ranker, make_inputs: MakeInputs
) -> None:
    inputs = make_inputs(14)
    order = torch.randperm(14)
    logits = ranker(inputs)
    torch.testing.assert_close(ranker(take(inputs, order)), logits[order])
    torch.testing.assert_close(ranker(take(inputs, order[:1])), logits[order[:1]])


def test_samples_without_any_history_are_scored_and_trained(ranker: Ranker, make_inputs: MakeInputs) -> None:
    inputs = make_inputs(4)
    nothing = {
        name: replace(sequence, mask=torch.zeros_like(sequence.mask))
        for name, sequence in inputs.sequences.items()
    }
    logits = ranker(replace(inputs, sequences=nothing))
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in ranker.parameters() if p.grad is not None)


def test_gradients_flow_to_every_parameter_and_every_row(
    ranker: Ranker, sample: Sample, make_inputs: MakeInputs
) -> None:
    inputs = make_inputs(64)
    labels = torch.stack([torch.arange(64) % 2, torch.arange(64) // 2 % 2, torch.arange(64)], dim=1).float()
    total, _ = Loss(sample.tasks)(ranker(inputs), labels)
    total.backward()
    still = [name for name, p in ranker.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert still == []
    assert inputs.pooled.grad is not None
    assert (inputs.pooled.grad.abs().sum(dim=0) > 0).all()
    for sequence in inputs.sequences.values():
        assert sequence.rows.grad is not None
        reached = sequence.rows.grad.abs().sum(dim=2) > 0
        assert (reached <= sequence.mask).all()
        assert reached.sum() > 0.9 * sequence.mask.sum()


def test_bfloat16_autocast_stays_close_to_float32(ranker: Ranker, make_inputs: MakeInputs) -> None:
    inputs = make_inputs(32)
    exact = ranker(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = ranker(inputs)
    rough.float().sum().backward()
    assert (rough.float() - exact).abs().max() < 0.05 * exact.abs().max()
    assert all(torch.isfinite(p.grad).all() for p in ranker.parameters() if p.grad is not None)


def test_it_learns_labels_that_depend_on_the_history(
    sample: Sample, config: RankerConfig, make_inputs: MakeInputs
) -> None:
    ranker, inputs = Ranker(sample, config), make_inputs(210)
    history = inputs.sequences["history"]
    settled = history.mask & (history.dense[..., 1] > 9)
    clicked = (history.dense[..., 0] * settled).sum(dim=1) > 0
    labels = torch.stack([clicked.float(), torch.full((210,), float("nan"))], dim=1)
    labels = torch.cat([labels, labels[:, 1:]], dim=1)
    optimizer, loss = torch.optim.Adam(ranker.parameters(), lr=0.01), Loss(sample.tasks)
    totals = []
    for _ in range(80):
        total, _ = loss(ranker(inputs), labels)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.3 * totals[0]


def test_a_rate_is_the_logit_of_smoothed_counts() -> None:
    rates = Rates([(1, 0)], prior=0.25, strength=8.0)
    shown, clicked = torch.tensor([0.0, 24.0, 1e6]), torch.tensor([0.0, 6.0, 9e5])
    got = rates(torch.stack([shown, clicked], dim=1).log1p())
    expected = torch.tensor([0.25, (6 + 2) / (24 + 8), 0.9]).logit().unsqueeze(1)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_names_that_the_sample_does_not_have_are_refused(sample: Sample, config: RankerConfig) -> None:
    with pytest.raises(ConfigError, match=r"slot 'author'; the sample has \['tab', 'user', 'video'\]"):
        Ranker(sample, replace(config, target=("video", "author")))
    with pytest.raises(ConfigError, match=r"sequence 'watched'; the sample has \['history', 'past'\]"):
        Ranker(sample, replace(config, histories={"watched": config.histories["past"]}))
    with pytest.raises(ConfigError, match=r"dense value 'liked'; the sample has \['clicked', 'shown'\]"):
        Ranker(sample, replace(config, rates=(("liked", "shown"),)))
