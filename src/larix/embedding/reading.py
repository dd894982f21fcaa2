"""Lookups in a replica: what may be asked of it, and one version of it held over several calls.

Knows nothing of who changes it.
"""

import threading
from collections.abc import Mapping, MutableMapping, Sequence
from typing import NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from larix.batch import Batch, Floats, Ids, Jagged, Offsets
from larix.embedding import check, core
from larix.embedding.layout import Layout
from larix.embedding.snapshot import Instant
from larix.embedding.spec import TableSpec
from larix.errors import DataError

Heat = NDArray[np.uint16]
PackedIds = tuple[Ids, NDArray[np.int64], Offsets]
HOT = 256  # native/replica.hpp


class Questions:
    """The tables of a replica by name, numbered from 1 in the order of ``specs``, and lookups in them, checked."""

    def __init__(self, specs: Mapping[str, TableSpec]) -> None:
        self._specs = specs
        self._numbers = {name: number for number, name in enumerate(specs, 1)}
        self._dims = {name: spec.dim for name, spec in specs.items()}
        self._plans = core.Plans(self._dims, bf16=False)

    def number(self, table: str) -> int:
        """The number of a table; ConfigError if there is none of that name."""
        check.known(table, self._specs)
        return self._numbers[table]

    def lookup(self, rows: core.Rows, table: str, ids: Ids, out: Floats | None) -> Floats:
        """See ``Replica.lookup``."""
        number, ids = self.number(table), check.ids(ids)
        shape = (len(ids), self._dims[table])
        out = np.empty(shape, np.float32) if out is None else out
        check.floats(out, shape, "out", writable=True)
        rows.lookup(number, ids, out)
        return out

    def gather(self, rows: core.Rows, layout: Layout, batch: Batch, outs: Sequence[Floats]) -> Ids:
        """See ``Replica.gather``."""
        jaggeds, given = self._checked(layout, batch, outs)
        missing = np.zeros(len(jaggeds), np.int64)
        if rows.gather(self._plans.of(layout), given, list(outs), batch.size, missing) >= 0:
            self._unsound(layout, jaggeds)
        return missing

    def gather_parts(
        self, rows: core.Reading, layout: Layout, batch: Batch, outs: Sequence[Floats], sizes: Sequence[int]
    ) -> Ids:
        """See ``Reading.gather_parts``."""
        ends = _ends(sizes, batch.size)
        jaggeds, given = self._checked(layout, batch, outs)
        missing = np.zeros((len(ends), len(jaggeds)), np.int64)
        if rows.gather_parts(self._plans.of(layout), given, list(outs), ends, missing) >= 0:
            self._unsound(layout, jaggeds)
        return missing

    def gather_packed(
        self,
        rows: core.Reading,
        layout: Layout,
        packed: PackedIds,
        outs: Sequence[Floats],
        sizes: Sequence[int],
    ) -> Ids:
        """See ``Reading.gather_packed``."""
        ids, found, offsets = packed
        size = offsets.shape[1] - 1
        ends = _ends(sizes, size)
        plan = self._plans.of(layout)
        check.buffers(layout, size, outs, writable=True)
        missing = np.zeros((len(ends), len(layout.slots)), np.int64)
        if (wrong := rows.gather_packed(plan, ids, found, offsets, list(outs), ends, missing)) >= 0:
            raise DataError(
                f"offsets of slot '{layout.slots[wrong].name}' are not those of its ids and output"
            )
        return missing

    def _checked(
        self, layout: Layout, batch: Batch, outs: Sequence[Floats]
    ) -> tuple[list[Jagged], list[tuple[Ids, Offsets | None, Floats | None]]]:
        self._plans.of(layout)
        check.buffers(layout, batch.size, outs, writable=True)
        jaggeds = check.slots(layout, batch)
        return jaggeds, [(jagged.values, jagged.offsets, jagged.weights) for jagged in jaggeds]

    @staticmethod
    def _unsound(layout: Layout, jaggeds: Sequence[Jagged]) -> NoReturn:
        check.offsets(layout, jaggeds)
        raise AssertionError("the core refused offsets that are sound")


def _ends(sizes: Sequence[int], size: int) -> Ids:
    if min(sizes, default=0) < 0 or sum(sizes) != size:
        raise DataError(f"parts of {list(sizes)} samples are no parts of a batch of {size}")
    return np.array(sizes, np.int64).cumsum()


class Reading:
    """One version of all tables of a replica, from ``with`` to its end: see ``Replica.reading``.

    ``instant``: the state of it; None if the replica has never been given one. One thread at a time may use it.
    """

    def __init__(
        self,
        replica: core.Replica,
        questions: Questions,
        instants: Mapping[int, Instant | None],
        threads: MutableMapping[int, int],
    ) -> None:
        self.instant: Instant | None = None
        self._replica = replica
        self._questions = questions
        self._instants = instants
        self._threads = threads
        self._rows: core.Reading | None = None

    def __enter__(self) -> Self:
        assert self._rows is None, "a reading is begun once"
        self._rows = core.Reading(self._replica)
        self.instant = self._instants[self._rows.version()]
        self._threads[id(self)] = threading.get_ident()
        return self

    def __exit__(self, *_: object) -> None:
        self._begun().end()
        self._rows = None
        del self._threads[id(self)]

    @property
    def sequence(self) -> int:
        """The last sequence number in it, 0 before the first."""
        return 0 if self.instant is None else self.instant.sequence

    def lookup(self, table: str, ids: Ids, *, out: Floats | None = None) -> Floats:
        """Return the weights of ``ids`` in this version: see ``Replica.lookup``."""
        return self._questions.lookup(self._begun(), table, ids, out)

    def gather(self, layout: Layout, batch: Batch, outs: Sequence[Floats]) -> Ids:
        """Look up all slots of a batch in this version: see ``Replica.gather``."""
        return self._questions.gather(self._begun(), layout, batch, outs)

    def gather_parts(self, layout: Layout, batch: Batch, outs: Sequence[Floats], sizes: Sequence[int]) -> Ids:
        """``gather``, counting ids without a row by part of the batch: int64 ``[parts, slots]``.

        ``sizes``: how many samples each part has, one after the other; DataError if they are not the batch's.
        """
        return self._questions.gather_parts(self._begun(), layout, batch, outs, sizes)

    def gather_packed(
        self, layout: Layout, packed: PackedIds, outs: Sequence[Floats], sizes: Sequence[int]
    ) -> Ids:
        """``gather_parts`` of ids that lie side by side: what several slots cost one by one is paid once.

        ``packed``: all ids; int64 ``[slots, 3]``, of each slot of the layout its first of them, how many there are, and its
        row of the offsets, or -1 for one id a sample; offsets ``[lists, samples + 1]``. DataError if offsets do not rise from
        0 to a slot's ids, or a sequence is longer than its output.
        """
        return self._questions.gather_packed(self._begun(), layout, packed, outs, sizes)

    def hot(self, table: str, ids: Ids) -> NDArray[np.bool_]:
        """Return of each id whether it has a row that is hot in this version: bool ``[n]``."""
        return self.heat(table, ids) >= HOT

    def heat(self, table: str, ids: Ids) -> Heat:
        """Return of each id ``HOT`` if its row is hot, and its uses, as far as they were noted, more: uint16 ``[n]``."""
        number, ids = self._questions.number(table), check.ids(ids)
        heat = np.empty(len(ids), np.uint16)
        self._begun().heat(number, ids, heat)
        return heat

    def _begun(self) -> core.Reading:
        assert self._rows is not None, "a reading is used inside of its with statement"
        return self._rows
