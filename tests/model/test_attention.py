import numpy as np
import pytest
import torch

from larix.errors import ConfigError
from larix.model.attention import AGE_SCALE, AttentionConfig, TargetAttention, masked_mean

B, L, T, E = 5, 7, 6, 4


def make() -> tuple[TargetAttention, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    attention = TargetAttention(T, E, AttentionConfig(width=8, heads=2), aged=True)
    mask = torch.rand(B, L) < 0.6
    mask[0] = False
    mask[1] = True
    return attention, torch.randn(B, T), torch.randn(B, L, E), torch.rand(B, L) * 15, mask


def numpy_attention(
    attention: TargetAttention, target: np.ndarray, events: np.ndarray, age: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """One sample at a time, only over the events that are there."""
    state = {
        name: value.detach().numpy().astype(np.float64) for name, value in attention.state_dict().items()
    }
    width = len(state["query.bias"])
    dim = width // attention.heads
    out = np.zeros((len(target), width))
    for i in range(len(target)):
        there = np.flatnonzero(mask[i])
        query = state["query.weight"] @ target[i] + state["query.bias"]
        both = events[i, there] @ state["key_value.weight"].T
        hidden = np.maximum(
            age[i, there, None] / AGE_SCALE @ state["age.0.weight"].T + state["age.0.bias"], 0
        )
        bias = hidden @ state["age.2.weight"].T
        for head in range(attention.heads):
            columns = slice(head * dim, (head + 1) * dim)
            scores = both[:, :width][:, columns] @ query[columns] / np.sqrt(dim) + bias[:, head]
            powers = np.exp(scores)
            weights = powers / (powers.sum() + np.exp(state["nothing"][head]))
            out[i, columns] = weights @ both[:, width:][:, columns]
    return out


def test_it_equals_a_plain_numpy_reference() -> None:
    attention, *arguments = make()
    torch.nn.init.normal_(attention.nothing)
    expected = numpy_attention(attention, *(argument.double().numpy() for argument in arguments))
    np.testing.assert_allclose(attention(*arguments).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_what_stands_in_padding_never_changes_the_result_or_a_gradient() -> None:
    attention, target, events, age, mask = make()
    clean = attention(target, events, age, mask)
    clean.sum().backward()
    gradients = [parameter.grad.clone() for parameter in attention.parameters() if parameter.grad is not None]
    attention.zero_grad()
    dirty_events = events.masked_fill(~mask.unsqueeze(-1), float("nan"))
    dirty = attention(target, dirty_events, age.masked_fill(~mask, float("inf")), mask)
    dirty.sum().backward()
    assert torch.equal(clean, dirty)
    for before, parameter in zip(gradients, attention.parameters(), strict=True):
        assert torch.equal(before, parameter.grad)


def test_more_padding_changes_nothing() -> None:
    attention, target, events, age, mask = make()
    longer = attention(
        target,
        torch.cat([events, torch.randn(B, 3, E)], dim=1),
        torch.cat([age, torch.rand(B, 3)], dim=1),
        torch.cat([mask, torch.zeros(B, 3, dtype=torch.bool)], dim=1),
    )
    torch.testing.assert_close(longer, attention(target, events, age, mask))


def test_no_events_read_as_zeros() -> None:
    attention, *arguments = make()
    assert torch.equal(attention(*arguments)[0], torch.zeros(8))


def test_events_in_another_order_read_the_same() -> None:
    attention, target, events, age, mask = make()
    order = torch.randperm(L)
    shuffled = attention(target, events[:, order], age[:, order], mask[:, order])
    torch.testing.assert_close(shuffled, attention(target, events, age, mask))


def test_time_gaps_count() -> None:
    attention, target, events, age, mask = make()
    assert not torch.allclose(
        attention(target, events, age, mask)[1], attention(target, events, age / 3, mask)[1]
    )


def test_the_candidate_counts() -> None:
    attention, target, events, age, mask = make()
    assert not torch.allclose(
        attention(target, events, age, mask)[1], attention(-target, events, age, mask)[1]
    )


def test_the_mean_is_over_the_events_that_are_there() -> None:
    x = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [float("nan"), 9.0]], [[5.0, 5.0], [5.0, 5.0], [5.0, 5.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert torch.equal(masked_mean(x, mask), torch.tensor([[2.0, 4.0], [0.0, 0.0]]))


def test_heads_must_share_the_width_evenly() -> None:
    with pytest.raises(ConfigError, match="use a multiple of 3"):
        AttentionConfig(width=32, heads=3)


def test_without_ages_only_the_content_counts() -> None:
    _, target, events, _, mask = make()
    attention = TargetAttention(T, E, AttentionConfig(width=8, heads=2), aged=False)
    assert attention(target, events, None, mask).shape == (B, 8)
    assert not [name for name, _ in attention.named_parameters() if "age" in name]
