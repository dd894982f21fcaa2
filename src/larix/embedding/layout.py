"""Where each slot's vectors go: a step's lookups described once, so that one native call serves all slots.

Knows slots and output buffers; knows nothing of rows, of torch or of what a slot means.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from larix.batch import Batch, Ids, Jagged, Offsets
from larix.errors import ConfigError

Pool = Literal["sum", "mean", "sequence"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One float32 buffer that lookups fill: ``[size, width]``, or ``[size, length, width]`` if ``length`` is not 0.

    A sequence output holds a sample's ids from position 0 on, oldest first; positions past its end are zero.
    """

    name: str
    width: int
    length: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One source of ids: rows of ``table`` go to columns ``column .. column + dim`` of output number ``output``.

    ``sum`` and ``mean`` pool a sample's rows (weighted when the slot's Jagged has weights: ``sum(w x)`` and
    ``sum(w x) / sum(w)``; no ids, or weights that sum to zero, give zeros). ``sequence`` writes row ``t`` of a sample to position ``t``.
    """

    name: str
    table: str
    output: int
    column: int
    pool: Pool = "sum"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """All slots and outputs of a step. ``slots`` and ``outputs`` keep their order; two slots may share a table."""

    outputs: tuple[Output, ...]
    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        for slot in self.slots:
            if not 0 <= slot.output < len(self.outputs):
                raise ConfigError(
                    f"slot '{slot.name}' writes to output {slot.output} but there are {len(self.outputs)}"
                )
            if (slot.pool == "sequence") != (self.outputs[slot.output].length > 0):
                raise ConfigError(
                    f"slot '{slot.name}' pools by '{slot.pool}' but output '{self.outputs[slot.output].name}' has length "
                    f"{self.outputs[slot.output].length}; sequence slots go to outputs with a length, pooled ones to outputs without"
                )

    def check(self, dims: Mapping[str, int]) -> None:
        """Raise ConfigError unless every slot's table is in ``dims`` and its columns fit and overlap no other's."""
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
    """Yield each slot's ids from ``batch`` in layout order. A sequence slot ``history.video`` reads ``sequences['history'].ids['video']``."""
    for slot in layout.slots:
        if slot.pool == "sequence":
            sequence, element = slot.name.split(".", 1)
            history = batch.sequences[sequence]
            yield Jagged(history.ids[element], history.offsets)
        else:
            yield batch.ids[slot.name]


__all__ = ["Ids", "Layout", "Offsets", "Output", "Pool", "Slot", "slot_ids"]
