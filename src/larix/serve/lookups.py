"""One half of a sample on its way from records to the arrays that a compiled network reads: features, then rows.

Knows nothing of networks beyond their inputs' names, and nothing of who asks.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.batch import Batch, Floats
from larix.compile import Input
from larix.compile.ranker import JOINED
from larix.compile.rules.hoist import CANDIDATE, REQUEST
from larix.embedding import Reading
from larix.errors import ConfigError
from larix.features import Sample
from larix.features.absent import absent as missing_by_row
from larix.model.embed import layout_of, padded
from larix.model.inputs import columns_of

Arrays = dict[str, NDArray[Any]]
Counts = dict[str, int]
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

    def find(self, batch: Batch, rows: Reading) -> tuple[Arrays, Counts]:
        """The network's inputs, ``batch.size`` rows of each; and by slot how many ids are not given or have no row."""
        outs = self._outs(batch)
        absent = rows.gather(self._layout, batch, outs)
        return self._inputs(batch, outs), self._counted(batch.missing, absent.tolist())

    def find_parts(
        self, records: pa.RecordBatch, batch: Batch, rows: Reading, sizes: Sequence[int]
    ) -> tuple[Arrays, list[Counts]]:
        """``find`` for several requests that have ``sizes`` rows of ``records`` each: the inputs of all, counts by request.

        ``batch``: what ``records`` were transformed to.
        """
        outs = self._outs(batch)
        absent = rows.gather_parts(self._layout, batch, outs, sizes)
        given: list[Counts] = [{} for _ in sizes]
        ends = np.cumsum([0, *sizes])
        for name in (name for name, count in batch.missing.items() if count):
            sums = np.cumsum(np.append(0, missing_by_row(self.sample, records, name)))
            for part, count in enumerate(np.diff(sums[ends]).tolist()):
                given[part][name] = count
        counts = [self._counted(*each) for each in zip(given, absent.tolist(), strict=True)]
        return self._inputs(batch, outs), counts

    def _outs(self, batch: Batch) -> list[Floats]:
        size = batch.size
        return [
            np.empty((size, each.length, each.width) if each.length else (size, each.width), np.float32)
            for each in self._layout.outputs
        ]

    def _inputs(self, batch: Batch, outs: list[Floats]) -> Arrays:
        outs[0][:, outs[0].shape[1] - batch.dense.shape[1] :] = batch.dense
        found: Arrays = {self._name: outs[0]}
        for name, out in zip(self.sample.sequences, outs[1:], strict=True):
            mask, dense = padded(batch.sequences[name], out.shape[1])
            found |= {f"{name}.rows": out, f"{name}.mask": mask, f"{name}.dense": dense}
        return found

    def _counted(self, given: Mapping[str, int], absent: Sequence[int]) -> Counts:
        missing = {name: count for name, count in given.items() if count}
        for slot, count in zip(self._layout.slots, absent, strict=True):
            if count:
                missing[slot.name] = missing.get(slot.name, 0) + count
        return missing

    def vectors(self, slot: str, arrays: Mapping[str, NDArray[Any]]) -> Floats:
        """The vectors of a slot of ids among what ``find`` found: float32 ``[size, dim]``."""
        start, dim = self._pooled[slot]
        return np.ascontiguousarray(arrays[self._name][:, start : start + dim])
