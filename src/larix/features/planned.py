"""transform for serving: what depends on the sample and on the columns' types alone is found once, and a call is two native ones.

What is unusual (types that must be cast, nulls that need an answer row by row, anything wrong) is left to ``transform``.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from larix.features import kernels
from larix.features.bucket import Bucket
from larix.features.dense import Dense
from larix.features.ids import Cross, Id
from larix.features.ids import Ids as ManyIds
from larix.features.kernels import FILLS, PARTS
from larix.features.packed import Order, Packed
from larix.features.records import ID, NUMBER, TICKS, TIME, Kinds
from larix.features.sequence import LogAge, Sequence
from larix.features.timepart import Hour, Weekday

if TYPE_CHECKING:
    from larix.features.sample import Feature, Sample

_ALL = np.iinfo(np.int64).max
_WIDTHS = {pa.lib.Type_LIST: 4, pa.lib.Type_LARGE_LIST: 8}
_KEPT = 4  # schemas of one sample


class Plans:
    """The plans of one sample, of the schemas that came last. Any number of threads may ask."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: tuple[tuple[pa.Schema, Plan | None], ...] = ()

    def read(self, sample: "Sample", batch: pa.RecordBatch) -> Packed | None:
        """What ``transform`` gives without labels, or None if that has to be asked."""
        schema = batch.schema
        known = next((each for each in self._made if schema.equals(each[0])), None)
        if known is None:
            known = schema, _planned(sample, schema)
            self._made = (
                known,
                *self._made[: _KEPT - 1],
            )  # of two threads' one may be lost: it is made again
        plan = known[1]
        return None if plan is None or batch.num_rows == 0 else plan.read(batch)


class _UnplannedError(Exception):
    """A feature or a type that ``transform`` looks at itself."""


def _planned(sample: "Sample", schema: pa.Schema) -> "Plan | None":
    try:
        return Plan(sample, schema)
    except _UnplannedError:
        return None


class Plan:
    """The reads of one sample over record batches of one schema."""

    def __init__(self, sample: "Sample", schema: pa.Schema) -> None:
        self._schema, self._core = schema, kernels.Transform()
        self._texts: list[tuple[int, int, bool]] = []  # source, column, whether in lists
        self._of: list[int] = []  # by source the list that it is, or -1
        self._lists = 0
        self._ints: list[int] = []  # by step that writes whole numbers its list, or -1
        self._steps = 0
        self._gaps = 0  # slots whose nulls are left out
        self._widths: list[tuple[int, int]] = [(-1, len(sample.dense))]  # of matrices: list or -1, width
        self._core.matrix(-1, len(sample.dense))
        self._now = -1
        self._slots: list[tuple[str, int]] = []  # name, step
        self._numbers: list[tuple[str, int]] = []
        self._histories: list[tuple[str, int, list[tuple[str, int]], list[tuple[str, int]], int]] = []
        for name, feature in sample.features.items():
            if isinstance(feature, Sequence):
                self._sequence(name, feature, sample.time)
            elif isinstance(feature, Dense):
                step = self._dense(feature, self._flat(feature.column, NUMBER), 0, len(self._numbers))
                self._numbers.append((name, step))
            else:
                self._slot(name, feature)
        scene = -1 if sample.scene is None else self._whole(self._core.ids, self._flat(sample.scene, ID))
        self.order = self._ordered(len(sample.dense), scene)

    def _ordered(self, dense: int, scene: int) -> Order:
        slots, counted = [name for name, _ in self._slots], [*self._slots, *self._numbers]
        sequences = []
        for name, of, ids, numbers, width in self._histories:
            for element, step in ids:
                slots.append(f"{name}.{element}")
                self._core.slot(step, False)
            counted += [(f"{name}.{element}", step) for element, step in numbers]
            sequences.append((name, of, tuple(element for element, _ in ids), width))
        return Order(tuple(slots), tuple(counted), tuple(sequences), dense, scene)

    def read(self, batch: pa.RecordBatch) -> Packed | None:
        """What is in the batch, or None where something is to be looked at with care."""
        rows = batch.num_rows
        _, capsule = batch.__arrow_c_array__()
        starts = np.empty((self._lists, rows), np.int64)
        offsets = np.empty((self._lists + self._gaps, rows + 1), np.int64)
        if self._lists and not self._core.measure(capsule, starts, offsets):
            return None
        totals = [*offsets[: self._lists, -1].tolist(), rows]  # at -1: of what is no list
        ints = np.empty(sum([totals[of] for of in self._ints]), np.int64)
        known = np.empty(len(ints), np.uint8)
        floats = np.empty(sum([totals[of] * width for of, width in self._widths]), np.float32)
        statuses = np.empty((self._steps, 3), np.int64)
        found = np.empty((len(self.order.slots), 3), np.int64)
        more = statuses, found
        lacking = self._core.run(capsule, self._sizes(batch), starts, offsets, ints, known, floats, *more)
        if lacking < 0:
            return None
        scene = None
        if self.order.scene >= 0:
            if lacking and statuses[self.order.scene, 2]:
                return None
            scene = ints[len(ints) - rows :]  # read last
        missing = statuses[:, 2] if lacking else None
        return Packed(self.order, rows, ints, found, offsets, floats, scene, missing)

    def _sizes(self, batch: pa.RecordBatch) -> list[int]:
        """Of each source how many bytes its characters are, which the C interface does not tell."""
        sizes = [0] * len(self._of)
        for source, column, in_lists in self._texts:
            array = batch.column(column)
            data = (array.values if in_lists else array).buffers()[2]
            sizes[source] = 0 if data is None else data.size
        return sizes

    def _source(self, column: str, kinds: Kinds, *, listed: bool, newest: int | None, like: int) -> int:
        at = self._schema.get_field_index(column)
        if at < 0:
            raise _UnplannedError
        dtype = self._schema.field(at).type
        width = _WIDTHS.get(dtype.id, 0)
        if listed != (width > 0):
            raise _UnplannedError
        plain = dtype.value_type if listed else dtype
        kind = kinds.by_type.get(plain.id)
        if kind is None:
            raise _UnplannedError
        source = self._core.source(at, kind, width, _ALL if newest is None else newest, like)
        if kind in (kernels.Kind.text32, kernels.Kind.text64):
            self._texts.append((source, at, listed))
        self._of.append(self._lists if listed else -1)
        self._lists += listed
        return source

    def _flat(self, column: str, kinds: Kinds) -> int:
        return self._source(column, kinds, listed=False, newest=None, like=-1)

    def _ticks(self, column: str) -> tuple[int, int]:
        dtype = self._schema.field(column).type
        plain = dtype.value_type if dtype.id in _WIDTHS else dtype
        return TICKS[plain.unit] if plain.id == pa.lib.Type_TIMESTAMP else (1, 1)

    def _whole(self, add: Any, source: int, *more: Any) -> int:
        """A step that writes whole numbers."""
        self._ints.append(self._of[source])
        return self._added(add(source, *more))

    def _added(self, step: int) -> int:
        self._steps += 1
        return step

    def _slot(self, name: str, feature: "Feature") -> None:
        match feature:
            case Id(column=column):
                step, gaps = self._whole(self._core.ids, self._flat(column, ID)), True
            case ManyIds(column=column, weights=None, newest=newest):
                source = self._source(column, ID, listed=True, newest=newest, like=-1)
                step, gaps = self._whole(self._core.ids, source), False
            case Cross(left=left, right=right):
                step = self._whole(self._core.cross, self._flat(left, ID), self._flat(right, ID))
                gaps = True
            case Bucket(column=column, edges=edges):
                assert edges is not None
                step = self._whole(self._core.buckets, self._flat(column, NUMBER), list(edges))
                gaps = False
            case Hour(column=column) | Weekday(column=column):
                part = PARTS["hour" if isinstance(feature, Hour) else "weekday"]
                more = *self._ticks(column), part, feature.shift_ms
                step = self._whole(self._core.time_parts, self._flat(column, TIME), *more)
                gaps = True
            case _:
                raise _UnplannedError
        self._slots.append((name, step))
        self._core.slot(step, gaps)
        self._gaps += gaps

    def _dense(self, feature: Dense, source: int, matrix: int, index: int) -> int:
        how = feature.how
        return self._added(
            self._core.dense(
                source,
                *how["clip"],
                how["log"],
                how["mean"],
                how["std"],
                FILLS[how["fill"]],
                how["fill_value"],
                matrix,
                index,
            )
        )

    def _sequence(self, name: str, feature: Sequence, time: str | None) -> None:
        if feature.needs_time and self._now < 0:
            assert time is not None
            self._now = self._whole(self._core.times, self._flat(time, TIME), *self._ticks(time))
        count = sum(not isinstance(element, Id) for element in feature.elements.values())
        first = matrix = -1
        ids: list[tuple[str, int]] = []
        numbers: list[tuple[str, int]] = []
        index = 0
        for element, of in feature.elements.items():
            kinds = ID if isinstance(of, Id) else NUMBER if isinstance(of, Dense) else TIME
            source = self._source(of.column, kinds, listed=True, newest=feature.newest, like=first)
            if first < 0:
                first, matrix = source, self._core.matrix(source, count)
                self._widths.append((self._of[source], count))
            if isinstance(of, Id):
                ids.append((element, self._whole(self._core.ids, source)))
                continue
            if isinstance(of, LogAge):
                ticks = self._ticks(of.column)
                self._added(self._core.log_ages(source, *ticks, self._now, matrix, index))
            else:
                numbers.append((element, self._dense(of, source, matrix, index)))
            index += 1
        self._histories.append((name, self._of[first], ids, numbers, count))
