"""Rows that a ranker reads and does not change, by slot or sequence. Knows no ranker, and nothing of why."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from larix.errors import ConfigError
from larix.model.inputs import Inputs


def keep_still(ranker: nn.Module, names: Sequence[str]) -> RemovableHandle:
    """From now on no gradient reaches the rows of slots and sequences ``names`` through ``ranker``; `remove` ends that.

    Rows without decay then stay as they are, optimizer state included. Of a table that others read too, what comes through
    those still counts. ConfigError when a batch comes that has no such slot or sequence.
    """
    held = tuple(names)

    def before(_: nn.Module, given: tuple[Any, ...]) -> None:
        (inputs,) = given
        assert isinstance(inputs, Inputs)
        whole = inputs.pooled if inputs.whole is None else inputs.whole
        if not whole.requires_grad:
            return
        columns: list[int] = []
        for name in held:
            if name in inputs.sequences:
                inputs.sequences[name].rows.register_hook(torch.zeros_like)  # type: ignore[no-untyped-call]
            elif name in inputs.columns:
                start, dim = inputs.columns[name]
                columns += range(start, start + dim)
            else:
                there = sorted([*inputs.columns, *inputs.sequences])
                raise ConfigError(f"there is no slot or sequence '{name}' to keep still; there are {there}")
        index = torch.tensor(columns, dtype=torch.int64, device=whole.device)

        def without(grad: Tensor) -> Tensor:
            return grad.index_fill(1, index, 0.0)

        whole.register_hook(without)  # type: ignore[no-untyped-call]

    return ranker.register_forward_pre_hook(before)
