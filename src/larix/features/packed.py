"""What a plan read of a record batch, as it was written: all slots' ids side by side, all numbers in one buffer.

Knows nothing of how columns are read, nor of who looks the ids up.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from larix.batch import Batch, Floats, History, Ids, Jagged, Offsets


@dataclass(frozen=True, slots=True)
class Order:
    """In which order a plan's reads lie: the same for every batch.

    ``slots``: names of id slots, then, as ``sequence.element``, of ids in sequences. ``counted``: by step whose values those are
    that may be missing. ``sequences``: by name its row of the offsets, ids and how many numbers an element has. ``scene``: its
    step, or -1.
    """

    slots: tuple[str, ...]
    counted: tuple[tuple[str, int], ...]
    sequences: tuple[tuple[str, int, tuple[str, ...], int], ...]
    dense: int
    scene: int


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """``size`` samples without labels, for a lookup of all slots in one go.

    ``ids``: int64, those of all slots. ``found``: int64 ``[slots, 3]``: of each slot its first, how many there are, and its
    row of ``offsets`` (int64 ``[lists, size + 1]``), or -1 for one id a sample. ``numbers``: float32, the matrix of dense
    values and then one for each sequence. ``scene``: int64 ``[size]``, or None.
    """

    order: Order
    size: int
    ids: Ids
    found: NDArray[np.int64]
    offsets: Offsets
    numbers: Floats
    scene: Ids | None
    lacking: NDArray[np.int64] | None  # by step how many values are missing; None: none at all

    @property
    def dense(self) -> Floats:
        """Float32 ``[size, d]``."""
        width = self.order.dense
        return self.numbers[: self.size * width].reshape(self.size, width)

    @property
    def missing(self) -> dict[str, int]:
        """By name how many values are missing, of those that lack any."""
        if self.lacking is None:
            return {}
        told = self.lacking.tolist()
        return {name: told[step] for name, step in self.order.counted if told[step]}

    def histories(self) -> Iterator[tuple[str, Offsets, Floats]]:
        """By sequence its name, offsets ``[size + 1]`` and numbers ``[n, k]``."""
        begin = self.size * self.order.dense
        for name, row, _, width in self.order.sequences:
            offsets = self.offsets[row]
            end = begin + int(offsets[-1]) * width
            yield name, offsets, self.numbers[begin:end].reshape(-1, width) if width else _nothing(offsets)
            begin = end

    def batch(self) -> Batch:
        """The same slot by slot: views, no copies."""
        slots = {
            name: (self.ids[first : first + count], None if row < 0 else self.offsets[row])
            for name, (first, count, row) in zip(self.order.slots, self.found.tolist(), strict=True)
        }
        sequences = {}
        elements = {name: ids for name, _, ids, _ in self.order.sequences}
        for name, offsets, dense in self.histories():
            ids = {element: slots.pop(f"{name}.{element}")[0] for element in elements[name]}
            sequences[name] = History(offsets, ids, dense)
        missing = dict.fromkeys((name for name, _ in self.order.counted), 0)
        return Batch(
            size=self.size,
            ids={name: Jagged(*slot) for name, slot in slots.items()},
            sequences=sequences,
            dense=self.dense,
            scene=self.scene,
            missing=missing | self.missing,
        )


def _nothing(offsets: Offsets) -> Floats:
    return np.empty((int(offsets[-1]), 0), np.float32)
