"""Layouts in the form that the native core takes, checked and made once. Knows nothing of rows."""

from collections.abc import Mapping

from larix import _native
from larix.embedding.layout import Layout

_POOLS = {"sum": 0, "mean": 1, "sequence": 2}
_MOST = 16  # layouts remembered; a store sees one or two


class Plans:
    """The plans of one store, whose tables are numbered from 1 in the order of ``dims``."""

    def __init__(self, dims: Mapping[str, int]) -> None:
        self._dims = dims
        self._numbers = {name: number for number, name in enumerate(dims, 1)}
        self._made: dict[int, tuple[Layout, _native.Plan]] = {}

    def of(self, layout: Layout) -> _native.Plan:
        """Return the core's form of a layout; ConfigError if it does not fit the store's tables."""
        kept = self._made.get(id(layout))
        if kept is None or kept[0] is not layout:
            layout.check(self._dims)
            slots = [
                (self._numbers[slot.table], _POOLS[slot.pool], slot.output, slot.column)
                for slot in layout.slots
            ]
            kept = layout, _native.Plan(slots, [(output.width, output.length) for output in layout.outputs])
            # A new dict each time: threads may be reading the old one.
            self._made = {id(layout): kept} if len(self._made) >= _MOST else self._made | {id(layout): kept}
        return kept[1]
