"""The events of one topic in a push, column by column, whatever schemas their appends have. Judges nothing."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.data.join import typed
from larix.data.join.carried import Carried
from larix.data.join.impressions import SHARE, joined
from larix.data.join.spec import Type, Value
from larix.data.log.events import Events

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
T = TypeVar("T")


class Keys:
    """Keys or event ids of rows.

    ``values`` are int64 or strings, ``hashes`` tell one from another, ``good`` says which are there.
    """

    def __init__(self, values: Ints | pa.Array, good: Mask) -> None:
        self.values, self.good = values, good
        self.hashes = values if isinstance(values, np.ndarray) else typed.hashes(values)

    @property
    def column(self) -> pa.Array:
        """All values, as a column."""
        return pa.array(self.values) if isinstance(self.values, np.ndarray) else self.values

    def take(self, rows: Ints) -> Ints | pa.Array:
        """The values of some rows."""
        return self.values[rows] if isinstance(self.values, np.ndarray) else self.values.take(pa.array(rows))


class Arrivals:
    """Rows of the appends, one after another. A column that an append lacks is null there."""

    def __init__(self, events: Sequence[Events]) -> None:
        # Most appends of a topic are alike: those that follow one another are read as one.
        runs = [[*some] for _, some in groupby(events, key=lambda each: each.rows.schema)]
        self._runs = [joined([each.rows for each in some]) for some in runs]
        counts = [len(each.rows) for each in events]
        self.appends = [(each.partition, len(each.rows)) for each in events]
        self.appended = np.repeat(np.array([each.time_ms for each in events]), counts)
        self._keys: dict[str, Keys] = {}

    def __len__(self) -> int:
        return len(self.appended)

    def times(self, name: str) -> Ints:
        """A column as milliseconds, -1 where it is none."""
        return np.concatenate(self._each(name, typed.times, lambda count: np.full(count, -1)))

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as float64, 0 where it is none."""
        return np.concatenate(self._each(name, typed.numbers, np.zeros))

    def matches(self, name: str, wanted: Value) -> Mask:
        """Where a column is ``wanted``."""
        return np.concatenate(
            self._each(
                name, lambda values: typed.matches(values, wanted), lambda count: np.zeros(count, bool)
            )
        )

    def keys(self, name: str, kind: Type) -> Keys:
        """A column as keys or ids."""
        found = self._keys.get(name + kind)
        if found is None:
            found = self._keys[name + kind] = self._typed(name, kind)
        return found

    def rows(
        self, numbers: Ints, columns: dict[str, pa.Array], carried: Carried, unfit: dict[str, int]
    ) -> tuple[pa.RecordBatch, Ints | None]:
        """A batch with some rows as samples carry them, and where they are in it; None: they are all of it.

        Args:
            numbers: which, at least one.
            columns: what stands in for columns of their names, for all rows.
            carried: what columns must fit.
            unfit: the number of values that did not, by column; added to.
        """
        if len(self._runs) == 1 and len(numbers) > len(self) * SHARE:
            whole = _with(self._runs[0], columns)
            if carried.holds(whole.schema):
                return whole, None if len(numbers) == len(whole) else numbers
        pieces, begin, done = [], 0, 0
        for run in self._runs:
            end = done + int(np.searchsorted(numbers[done:], begin + len(run)))
            if end > done:
                at, of_run = pa.array(numbers[done:end]), pa.array(numbers[done:end] - begin)
                ours = _with(run.take(of_run), {name: column.take(at) for name, column in columns.items()})
                fit, bad = carried.fit(ours)
                pieces.append(fit)
                for name, count in bad.items():
                    unfit[name] = unfit.get(name, 0) + count
            begin, done = begin + len(run), end
        return joined([carried.out(piece) for piece in pieces]), None

    def _typed(self, name: str, kind: Type) -> Keys:
        good = np.concatenate(
            self._each(name, lambda values: _READ[kind](values)[1], lambda n: np.zeros(n, bool))
        )
        if kind == "int64":
            found = self._each(
                name, lambda values: typed.integers(values)[0], lambda n: np.zeros(n, np.int64)
            )
            return Keys(np.concatenate(found), good)
        text = self._each(name, lambda values: typed.texts(values)[0], lambda n: pa.nulls(n, pa.string()))
        return Keys(text[0] if len(text) == 1 else pa.concat_arrays(text), good)

    def _each(self, name: str, read: Callable[[pa.Array], T], missing: Callable[[int], T]) -> list[T]:
        return [missing(len(run)) if column is None else read(column) for run, column in self._columns(name)]

    def _columns(self, name: str) -> Iterator[tuple[pa.RecordBatch, pa.Array | None]]:
        for run in self._runs:
            places = run.schema.get_all_field_indices(name)
            yield run, run.column(places[0]) if places else None


_READ = {"int64": typed.integers, "string": typed.texts}


def _with(rows: pa.RecordBatch, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    for name, column in columns.items():
        rows = rows.set_column(rows.schema.get_all_field_indices(name)[0], name, column)
    return rows
