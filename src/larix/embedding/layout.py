"""Where each slot's vectors go: a step's lookups described once, so that one native call serves all slots.

Knows slots and output buffers; knows nothing of rows, of torch or of what a slot means.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from larix.batch import Batch, Ids, Jagged, Offsets
from larix.errors import ConfigError, DataError

Pool = Literal["sum", "mean", "sequence"]
Buffer = NDArray[Any]  # of an output, or its gradient: float32, or uint16, the bits of bfloat16


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One buffer that lookups fill: ``[size, width]``, with a ``length`` ``[size, length, width]``; float32.

    Columns that no slot writes are left as they were. A sequence output holds a sample's ids from position 0
    on, oldest first; positions past its end are zero.

    With ``bf16`` it is uint16, the bits of bfloat16: what would be there as float32 is rounded once, as
    ``precision.bf16_of`` does, and so are its gradients, which are widened. An output with a length cannot be.
    """

    name: str
    width: int
    length: int = 0
    bf16: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One source of ids: rows of ``table`` go to columns ``column .. column + dim`` of output ``output``.

    ``sum`` and ``mean`` pool a sample's rows (weighted when the slot's Jagged has weights: ``sum(w x)`` and
    ``sum(w x) / sum(w)``; no ids, or for a mean weights that sum to zero, give zeros and take no gradient).
    ``sequence`` writes row ``t`` of a sample to position ``t``.
    """

    name: str
    table: str
    output: int
    column: int
    pool: Pool = "sum"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """All slots and outputs of a step, in order. Two slots may share a table."""

    outputs: tuple[Output, ...]
    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        for output in self.outputs:
            if output.bf16 and output.length:
                raise ConfigError(f"output '{output.name}' has a length and bf16; sequences are float32")
        for slot in self.slots:
            if not 0 <= slot.output < len(self.outputs):
                there = len(self.outputs)
                raise ConfigError(f"slot '{slot.name}' writes to output {slot.output} but there are {there}")
            output = self.outputs[slot.output]
            if (slot.pool == "sequence") != (output.length > 0):
                raise ConfigError(
                    f"slot '{slot.name}' pools by '{slot.pool}' but output '{output.name}' has length "
                    f"{output.length}; sequence slots go to outputs with a length, pooled ones to others"
                )
            if slot.pool == "sequence" and "." not in slot.name:
                raise ConfigError(f"sequence slot '{slot.name}' must be named SEQUENCE.ELEMENT")

    def check(self, dims: Mapping[str, int]) -> None:
        """Raise ConfigError unless each slot's table is in ``dims`` and its columns fit and are its own."""
        taken: dict[tuple[int, int], str] = {}
        for slot in self.slots:
            if slot.table not in dims:
                raise ConfigError(
                    f"slot '{slot.name}' asks for table '{slot.table}', which is not among {sorted(dims)}"
                )
            output = self.outputs[slot.output]
            if slot.column < 0 or slot.column + dims[slot.table] > output.width:
                raise ConfigError(
                    f"slot '{slot.name}' needs columns {slot.column}..{slot.column + dims[slot.table]} "
                    f"but output '{output.name}' is {output.width} wide"
                )
            for column in range(slot.column, slot.column + dims[slot.table]):
                other = taken.setdefault((slot.output, column), slot.name)
                if other != slot.name:
                    raise ConfigError(
                        f"slots '{other}' and '{slot.name}' both write column {column} of '{output.name}'"
                    )


def slot_ids(layout: Layout, batch: Batch) -> Iterator[Jagged]:
    """Yield each slot's ids from ``batch`` in layout order; DataError names a slot the batch lacks.

    A sequence slot ``history.video`` reads ``sequences['history'].ids['video']``.
    """
    for slot in layout.slots:
        if slot.pool == "sequence":
            sequence, _, element = slot.name.partition(".")
            history = batch.sequences.get(sequence)
            if history is None or element not in history.ids:
                there = sorted(
                    f"{name}.{of}" for name, history in batch.sequences.items() for of in history.ids
                )
                raise DataError(f"the batch has no sequence '{slot.name}'; it has {there}")
            yield Jagged(history.ids[element], history.offsets)
        elif slot.name in batch.ids:
            yield batch.ids[slot.name]
        else:
            raise DataError(f"the batch has no slot '{slot.name}'; it has {sorted(batch.ids)}")


__all__ = ["Buffer", "Ids", "Layout", "Offsets", "Output", "Pool", "Slot", "slot_ids"]
