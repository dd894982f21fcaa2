from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from larix.errors import ConfigError
from larix.features import Sample
from larix.model.history import HistoryConfig, HistoryReader
from larix.model.inputs import Inputs, SequenceInput
from larix.model.ranker import RankerConfig

HOUR = 3600.0


@pytest.fixture
def reader(sample: Sample, config: RankerConfig) -> HistoryReader:
    return HistoryReader(9, sample.sequences["history"], config.histories["history"])


@pytest.fixture
def sequence(make_inputs: Callable[[int], Inputs]) -> SequenceInput:
    return make_inputs(14).sequences["history"]


def with_dense(sequence: SequenceInput, column: int, value: torch.Tensor) -> SequenceInput:
    dense = sequence.dense.clone()
    dense[..., column] = value
    return replace(sequence, dense=dense)


def test_outcomes_are_hidden_until_they_have_settled(reader: HistoryReader, sequence: SequenceInput) -> None:
    target = torch.randn(14, 9)
    fresh = with_dense(sequence, 1, torch.tensor(HOUR - 1).log1p())
    old = with_dense(sequence, 1, torch.tensor(HOUR + 1).log1p())
    flip = 1 - sequence.dense[..., 0]
    torch.testing.assert_close(reader(target, fresh), reader(target, with_dense(fresh, 0, flip)))
    changed = (reader(target, old) - reader(target, with_dense(old, 0, flip))).abs().sum(dim=1)
    assert ((changed > 0) == sequence.mask.any(dim=1)).all()


def test_an_event_whose_outcome_is_hidden_is_seen_itself(
    reader: HistoryReader, sequence: SequenceInput
) -> None:
    target = torch.randn(14, 9)
    fresh = with_dense(sequence, 1, torch.tensor(60.0).log1p())
    other = replace(fresh, rows=fresh.rows + 1)
    changed = (reader(target, fresh) - reader(target, other)).abs().sum(dim=1)
    assert ((changed > 0) == sequence.mask.any(dim=1)).all()


def test_padding_changes_neither_the_result_nor_a_gradient(
    reader: HistoryReader, sequence: SequenceInput
) -> None:
    target, padded = torch.randn(14, 9), ~sequence.mask.unsqueeze(-1)
    clean = reader(target, sequence)
    clean.square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in reader.parameters() if parameter.grad is not None]
    reader.zero_grad()
    nan = float("nan")
    rows, dense = sequence.rows.masked_fill(padded, nan), sequence.dense.masked_fill(padded, nan)
    dirty = reader(target, replace(sequence, rows=rows, dense=dense))
    dirty.square().sum().backward()
    assert torch.equal(clean, dirty)
    for before, parameter in zip(gradients, reader.parameters(), strict=True):
        assert torch.equal(before, parameter.grad)


def test_an_empty_history_reads_as_zeros(reader: HistoryReader, sequence: SequenceInput) -> None:
    told = reader(torch.randn(14, 9), sequence)
    empty = ~sequence.mask.any(dim=1)
    assert empty.any()
    assert torch.equal(told[empty], torch.zeros_like(told[empty]))
    assert told.shape == (14, reader.features)


def test_names_that_the_sequence_does_not_have_are_refused(sample: Sample) -> None:
    slots = sample.sequences["history"]
    with pytest.raises(ConfigError, match=r"outcomes names 'like'; the sequence has .*'click'"):
        HistoryReader(9, slots, HistoryConfig(outcomes=("like",)))
    with pytest.raises(ConfigError, match=r"age is 'video'; the sequence's numbers are"):
        HistoryReader(9, slots, HistoryConfig(age="video"))


def test_settling_needs_an_age() -> None:
    with pytest.raises(ConfigError, match="needs each event's age"):
        HistoryConfig(settle=60.0)
    with pytest.raises(ConfigError, match=r"settle is -1"):
        HistoryConfig(settle=-1.0)
