"""One half of a sample on its way from records to the arrays that a compiled network reads: features, then rows.

Knows nothing of networks beyond their inputs' names, and nothing of who asks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.batch import Batch, Floats, Ids, Offsets
from larix.compile import Input
from larix.compile.ranker import JOINED
from larix.compile.rules.hoist import CANDIDATE, REQUEST
from larix.embedding import Reading
from larix.errors import ConfigError
from larix.features import Sample, kernels
from larix.features.absent import absent as missing_by_row
from larix.features.packed import Packed
from larix.model.embed import layout_of
from larix.model.inputs import columns_of

Arrays = dict[str, NDArray[Any]]
Counts = dict[str, int]
Read = Packed | Batch  # of one half, what is unusual as a batch
_JOINED = (JOINED, JOINED + REQUEST, JOINED + CANDIDATE)


class Lookups:
    """The half ``sample``, for the ``inputs`` of a network that are of it. Any number of threads may ask.

    ConfigError if they are of a network over other slots.
    """

    def __init__(self, sample: Sample, inputs: Iterable[Input]) -> None:
        self.sample = sample
        self._layout = layout_of(sample)
        self._slots = tuple(slot.name for slot in self._layout.slots)
        self._sequences = {
            name: (f"{name}.rows", f"{name}.mask", f"{name}.dense") for name in sample.sequences
        }
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

    def read(self, records: pa.RecordBatch) -> Read:
        """The half's features of ``records``; DataError if they are not as declared."""
        packed = self.sample.packed(records)
        return self.sample.transform(records, labels=False) if packed is None else packed

    def find(self, read: Read, rows: Reading) -> tuple[Arrays, Counts]:
        """The network's inputs, ``read.size`` rows of each; and by slot how many ids are not given or have no row."""
        outs, absent = self._gathered(read, rows, (read.size,))
        return self._inputs(read, outs), self._counted(read.missing, absent[0].tolist())

    def find_parts(
        self, records: pa.RecordBatch, read: Read, rows: Reading, sizes: Sequence[int]
    ) -> tuple[Arrays, list[Counts]]:
        """``find`` for several requests that have ``sizes`` rows of ``records`` each: the inputs of all, counts by request.

        ``read``: what was read of ``records``.
        """
        outs, absent = self._gathered(read, rows, sizes)
        given: list[Counts] = [{} for _ in sizes]
        ends = np.cumsum([0, *sizes])
        for name in (name for name, count in read.missing.items() if count):
            sums = np.cumsum(np.append(0, missing_by_row(self.sample, records, name)))
            for part, count in enumerate(np.diff(sums[ends]).tolist()):
                given[part][name] = count
        counts = [self._counted(*each) for each in zip(given, absent.tolist(), strict=True)]
        return self._inputs(read, outs), counts

    def _gathered(self, read: Read, rows: Reading, sizes: Sequence[int]) -> tuple[list[Floats], Ids]:
        size = read.size
        outs = [
            np.empty((size, each.length, each.width) if each.length else (size, each.width), np.float32)
            for each in self._layout.outputs
        ]
        if isinstance(read, Batch):
            return outs, rows.gather_parts(self._layout, read, outs, sizes)
        assert read.order.slots == self._slots, "slots are read in the order of the layout"
        packed = read.ids, read.found, read.offsets
        return outs, rows.gather_packed(self._layout, packed, outs, sizes)

    def _inputs(self, read: Read, outs: list[Floats]) -> Arrays:
        outs[0][:, outs[0].shape[1] - read.dense.shape[1] :] = read.dense
        found: Arrays = {self._name: outs[0]}
        for (name, offsets, dense), out in zip(_histories(read), outs[1:], strict=True):
            mask, numbers = kernels.padded(offsets, dense, out.shape[1])
            rows, known, values = self._sequences[name]
            found[rows], found[known], found[values] = out, mask, numbers
        return found

    def _counted(self, given: Mapping[str, int], absent: Sequence[int]) -> Counts:
        missing = {name: count for name, count in given.items() if count}
        if any(absent):
            for name, count in zip(self._slots, absent, strict=True):
                if count:
                    missing[name] = missing.get(name, 0) + count
        return missing

    def vectors(self, slot: str, arrays: Mapping[str, NDArray[Any]]) -> Floats:
        """The vectors of a slot of ids among what ``find`` found: float32 ``[size, dim]``."""
        start, dim = self._pooled[slot]
        return np.ascontiguousarray(arrays[self._name][:, start : start + dim])


def _histories(read: Read) -> Iterator[tuple[str, Offsets, Floats]]:
    if isinstance(read, Packed):
        return read.histories()
    return ((name, each.offsets, each.dense) for name, each in read.sequences.items())
