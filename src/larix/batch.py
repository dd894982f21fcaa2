"""The one currency of the house: a batch of samples as numpy buffers, slot by slot.

Knows nothing of where samples come from, of tables or of torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from larix.errors import DataError

Ids = NDArray[np.int64]
Offsets = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Jagged:
    """One slot's ids for every sample of a batch, in compressed-row form.

    ``values``: int64 ``[n]``, any 64-bit id. ``offsets``: int64 ``[size + 1]``, sample ``i`` holds
    ``values[offsets[i]:offsets[i + 1]]``; ``None`` means exactly one value a sample. ``weights``: float32 ``[n]`` or None.
    """

    values: Ids
    offsets: Offsets | None = None
    weights: Floats | None = None

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.values) if self.offsets is None else len(self.offsets) - 1


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One behaviour sequence: several columns of one history, aligned, oldest first.

    ``offsets``: int64 ``[size + 1]``, shared by all columns. ``ids``: element name -> int64 ``[n]``.
    ``dense``: float32 ``[n, k]``, the sequence's numeric elements in declared order (k may be 0).
    No sample holds more than the declared maximum length.
    """

    offsets: Offsets
    ids: Mapping[str, Ids]
    dense: Floats

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.offsets) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """``size`` samples, ready for lookup.

    ``ids``: slot -> Jagged. ``sequences``: sequence name -> History. ``dense``: float32 ``[size, d]``.
    ``labels``: float32 ``[size, tasks]``; NaN marks a label that is not known. ``weight``: float32 ``[size]``.
    ``rate``: float32 ``[size]``, at what rate negatives were kept, where a task's are down-sampled.
    ``group``: int64 ``[size]``, the key of grouped metrics; ``scene``: int64 ``[size]``, the key of per-scene metrics;
    ``time``: int64 ``[size]``, milliseconds since the epoch. Serving batches carry no labels, weight, group or time.
    """

    size: int
    ids: Mapping[str, Jagged]
    sequences: Mapping[str, History]
    dense: Floats
    labels: Floats | None = None
    weight: Floats | None = None
    rate: Floats | None = None
    group: Ids | None = None
    scene: Ids | None = None
    time: Ids | None = None
    missing: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, jagged in self.ids.items():
            if jagged.size != self.size:
                raise DataError(f"slot '{name}' has {jagged.size} samples but the batch has {self.size}")
        for name, history in self.sequences.items():
            if history.size != self.size:
                raise DataError(f"sequence '{name}' has {history.size} samples but the batch has {self.size}")
        for name in ("dense", "labels", "weight", "rate", "group", "scene", "time"):
            array = getattr(self, name)
            if array is not None and len(array) != self.size:
                raise DataError(f"'{name}' has {len(array)} samples but the batch has {self.size}")
