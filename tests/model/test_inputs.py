import pytest
import torch

from larix.errors import ConfigError
from larix.model.inputs import Inputs, SequenceInput, columns_of


def make() -> Inputs:
    columns = columns_of({"user": 3, "video": 2})
    history = SequenceInput(
        rows=torch.randn(4, 6, 5, requires_grad=True),
        columns=columns_of({"video": 2, "author": 3}),
        mask=torch.ones(4, 6, dtype=torch.bool),
        dense=torch.zeros(4, 6, 1),
    )
    return Inputs(torch.randn(4, 5, requires_grad=True), columns, torch.zeros(4, 2), {"history": history})


def test_columns_lie_side_by_side_in_declared_order() -> None:
    assert columns_of({"b": 3, "a": 2, "c": 1}) == {"b": (0, 3), "a": (3, 2), "c": (5, 1)}


def test_a_slot_is_a_view_whose_gradient_reaches_its_own_columns_only() -> None:
    inputs = make()
    view = inputs["video"]
    assert view.shape == (4, 2)
    assert view.untyped_storage().data_ptr() == inputs.pooled.untyped_storage().data_ptr()
    view.sum().backward()
    assert inputs.pooled.grad is not None
    assert inputs.pooled.grad[:, :3].abs().sum() == 0
    assert torch.equal(inputs.pooled.grad[:, 3:], torch.ones(4, 2))


def test_a_sequence_element_is_a_view_whose_gradient_reaches_its_own_columns_only() -> None:
    history = make().sequences["history"]
    history["author"].sum().backward()
    assert history.rows.grad is not None
    assert history.rows.grad[..., :2].abs().sum() == 0
    assert torch.equal(history.rows.grad[..., 2:], torch.ones(4, 6, 3))


def test_size_is_the_number_of_samples() -> None:
    assert make().size == 4


def test_an_unknown_name_says_which_names_there_are() -> None:
    inputs = make()
    with pytest.raises(ConfigError, match=r"no 'autor'.*\['user', 'video'\]"):
        inputs["autor"]
    with pytest.raises(ConfigError, match=r"the sequence has no 'user'.*\['author', 'video'\]"):
        inputs.sequences["history"]["user"]
