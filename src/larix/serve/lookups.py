"""One half of a sample on its way from records to the arrays that a compiled network reads: features, then rows.

Knows nothing of networks beyond their inputs' names, and nothing of who asks.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from larix.batch import Batch, Floats
from larix.compile import Input
from larix.compile.ranker import JOINED
from larix.compile.rules.hoist import CANDIDATE, REQUEST
from larix.embedding import Reading
from larix.errors import ConfigError
from larix.features import Sample
from larix.model.embed import layout_of, padded
from larix.model.inputs import columns_of

_JOINED = (JOINED, JOINED + REQUEST, JOINED + CANDIDATE)


class Lookups:
    """The half ``sample``, for the ``inputs`` of a network that are of it. Any number of threads may ask.

    ConfigError if they are of a network over other slots.
    """

    def __init__(self, sample: Sample, inputs: Iterable[Input]) -> None:
        self.sample = sample
        self._layout = layout_of(sample)
        self._pooled = columns_of({name: slot.dim for name, slot in sample.id_slots.items()})
        joined = next((each for each in inputs if each.name in _JOINED), None)
        self._name = JOINED if joined is None else joined.name
        ours = [(name, slot.dim) for name, slot in sample.id_slots.items()] + [
            (name, 1) for name in sample.dense
        ]
        theirs = ours if joined is None else [(each.name, each.width) for each in joined.columns]
        if ours != theirs:
            raise ConfigError(
                f"the network reads {theirs} but the sample has {ours}; they are not of one model"
            )

    def find(self, batch: Batch, rows: Reading) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
        """The network's inputs, ``batch.size`` rows of each; and by slot how many ids are not given or have no row."""
        size = batch.size
        outs = [
            np.empty((size, each.length, each.width) if each.length else (size, each.width), np.float32)
            for each in self._layout.outputs
        ]
        absent = rows.gather(self._layout, batch, outs)
        outs[0][:, outs[0].shape[1] - batch.dense.shape[1] :] = batch.dense
        found: dict[str, NDArray[Any]] = {self._name: outs[0]}
        for name, out in zip(self.sample.sequences, outs[1:], strict=True):
            mask, dense = padded(batch.sequences[name], out.shape[1])
            found |= {f"{name}.rows": out, f"{name}.mask": mask, f"{name}.dense": dense}
        missing = {name: count for name, count in batch.missing.items() if count}
        for slot, count in zip(self._layout.slots, absent.tolist(), strict=True):
            if count:
                missing[slot.name] = missing.get(slot.name, 0) + count
        return found, missing

    def vectors(self, slot: str, arrays: Mapping[str, NDArray[Any]]) -> Floats:
        """The vectors of a slot of ids among what ``find`` found: float32 ``[size, dim]``."""
        start, dim = self._pooled[slot]
        return np.ascontiguousarray(arrays[self._name][:, start : start + dim])
