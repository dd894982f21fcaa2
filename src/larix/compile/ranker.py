"""A ranker's forward as named tensors, its slots as columns: between ``model.Inputs`` and ``capture``.

Knows nothing of graphs beyond how one is captured.
"""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from larix.compile.capture import capture
from larix.compile.graph import Graph
from larix.errors import ConfigError
from larix.features import Sample
from larix.model.inputs import Columns, Inputs, SequenceInput, columns_of

JOINED = "joined"  # all pooled vectors, then all dense values
WITHIN = (
    "module.ranker."  # what the names of a captured ranker's weights begin with; its state_dict has the rest
)


class ByTensors(nn.Module):
    """A ranker that takes ``joined [B, D + d]`` and, for each sequence S, ``S.rows``, ``S.mask`` and ``S.dense``."""

    def __init__(self, sample: Sample, ranker: nn.Module) -> None:
        super().__init__()
        self.ranker = ranker
        self._columns: Columns = columns_of({name: slot.dim for name, slot in sample.id_slots.items()})
        self._elements = {
            name: columns_of({element: slot.dim for element, slot in sequence.ids.items()})
            for name, sequence in sample.sequences.items()
        }
        self._pooled = sum(slot.dim for slot in sample.id_slots.values())

    def forward(self, **tensors: Tensor) -> Any:
        """What the ranker says of those inputs."""
        joined = tensors[JOINED]
        sequences = {
            name: SequenceInput(
                rows=tensors[f"{name}.rows"],
                columns=columns,
                mask=tensors[f"{name}.mask"],
                dense=tensors[f"{name}.dense"],
            )
            for name, columns in self._elements.items()
        }
        return self.ranker(
            Inputs(
                pooled=joined[:, : self._pooled],
                columns=self._columns,
                dense=joined[:, self._pooled :],
                sequences=sequences,
                whole=joined,
            )
        )


def tensors_of(inputs: Inputs) -> dict[str, Tensor]:
    """What ``Embed`` made, as the tensors that a captured ranker takes, by name."""
    found = {JOINED: inputs.joined}
    for name, sequence in inputs.sequences.items():
        found |= {
            f"{name}.rows": sequence.rows,
            f"{name}.mask": sequence.mask,
            f"{name}.dense": sequence.dense,
        }
    return {name: each.detach() for name, each in found.items()}


def capture_ranker(sample: Sample, ranker: nn.Module, per_request: Collection[str]) -> Graph:
    """The graph of ``ranker`` over ``sample``'s slots.

    ``per_request``: the slots, dense values and sequences that are alike for all candidates of a request.
    ConfigError if one is not in the sample.
    """
    widths = {name: slot.dim for name, slot in sample.id_slots.items()} | dict.fromkeys(sample.dense, 1)
    unknown = sorted(set(per_request) - set(widths) - set(sample.sequences))
    if unknown:
        known = sorted({*widths, *sample.sequences})
        raise ConfigError(f"per_request names {unknown}; the sample has {known}")
    levels: dict[str, Any] = {JOINED: [(name, width, name in per_request) for name, width in widths.items()]}
    for name in sample.sequences:
        levels |= {f"{name}.{part}": name in per_request for part in ("rows", "mask", "dense")}
    examples = _examples(sample, sum(widths.values()))
    return capture(ByTensors(sample, ranker), examples, per_request=levels)


def _examples(sample: Sample, width: int, rows: int = 3) -> Mapping[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    found = {JOINED: torch.rand(rows, width, generator=draw)}
    for name, sequence in sample.sequences.items():
        length, dims = sequence.newest, sum(slot.dim for slot in sequence.ids.values())
        found[f"{name}.rows"] = torch.rand(rows, length, dims, generator=draw)
        found[f"{name}.mask"] = torch.arange(length) < torch.tensor([[length], [1], [0]])
        found[f"{name}.dense"] = torch.rand(rows, length, len(sequence.dense), generator=draw)
    return found
