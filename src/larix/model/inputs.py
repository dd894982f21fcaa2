"""What a ranker's forward receives: looked-up vectors, dense values and behaviour sequences, by name.

Knows nothing of ids, of tables or of how the vectors were found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from larix.errors import ConfigError

Columns = Mapping[str, tuple[int, int]]  # name -> (first column, number of columns)


def columns_of(dims: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Lay ``dims`` (name -> width) side by side in their order: name -> (first column, width)."""
    columns: dict[str, tuple[int, int]] = {}
    start = 0
    for name, dim in dims.items():
        columns[name] = (start, dim)
        start += dim
    return columns


def _view(tensor: Tensor, columns: Columns, name: str, of: str) -> Tensor:
    if name not in columns:
        raise ConfigError(f"{of} has no '{name}'; it has {sorted(columns)}")
    start, dim = columns[name]
    return tensor[..., start : start + dim]


@dataclass(frozen=True, slots=True, eq=False)
class SequenceInput:
    """One behaviour sequence of every sample, oldest first, padded at the end.

    ``rows``: float32 ``[B, L, W]``, the elements' vectors side by side; ``sequence["video"]`` is a view
    ``[B, L, dim]``. ``mask``: bool ``[B, L]``, True where there is an event. ``dense``: ``[B, L, k]``.
    What stands in ``rows`` and ``dense`` at masked positions means nothing; a ranker must not depend on it.
    """

    rows: Tensor
    columns: Columns
    mask: Tensor
    dense: Tensor

    def __getitem__(self, element: str) -> Tensor:
        return _view(self.rows, self.columns, element, "the sequence")


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """``B`` samples for a ranker.

    ``pooled``: float32 ``[B, D]``, all id slots' vectors side by side; ``inputs["slot"]`` is a view.
    ``columns``: slot -> (first column, dim) in ``pooled``. ``dense``: float32 ``[B, d]``.
    ``sequences``: name -> SequenceInput. ``whole``: ``[B, D + d]`` if there is one tensor of both, which ``pooled`` is a view of.
    Gradients come back through ``whole`` and the sequences' ``rows``.

    ``whole`` and ``pooled`` are bfloat16 for a ranker that says so by an attribute ``takes_bf16 = True`` while it is
    trained under bfloat16 autocast. It promises to do nothing with ``joined`` but to give it to layers that autocast would
    round it for, such as ``nn.Linear``: then nothing changes, to the bit, but that nobody has to write and read it in float32.
    """

    pooled: Tensor
    columns: Columns
    dense: Tensor
    sequences: Mapping[str, SequenceInput] = field(default_factory=dict)
    whole: Tensor | None = None

    @property
    def size(self) -> int:
        """Number of samples ``B``."""
        return int(self.pooled.shape[0])

    @property
    def joined(self) -> Tensor:
        """Pooled vectors and dense values side by side, ``[B, D + d]``: what a first layer reads, without a copy if it can be."""
        return torch.cat([self.pooled, self.dense], dim=1) if self.whole is None else self.whole

    def __getitem__(self, slot: str) -> Tensor:
        return _view(self.pooled, self.columns, slot, "the batch")
