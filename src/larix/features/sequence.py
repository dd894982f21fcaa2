"""Sequence: a behaviour history as several aligned list columns, oldest first.

Knows nothing of attention or of tables' rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from larix.batch import History, Ids
from larix.errors import ConfigError
from larix.features.dense import Dense
from larix.features.ids import Id
from larix.features.kernels import ListView, Ranges
from larix.features.records import ID, NUMBER, TIME, Records
from larix.features.slot import IdSlot, check_column


@dataclass(frozen=True, slots=True)
class LogAge:
    """A number of a sequence: ``log1p`` of the seconds from the element's time to the sample's.

    The column is a list of milliseconds since the epoch or of timestamps; a null raises. An element later
    than its sample has age 0, since clocks of different machines disagree.
    """

    column: str

    def __post_init__(self) -> None:
        check_column(self, self.column)

    @property
    def columns(self) -> tuple[str, ...]:
        """Input columns it reads."""
        return (self.column,)


Element = Id | Dense | LogAge


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceSlots:
    """A sequence as other rooms see it: its id elements, its numbers in order, its longest length."""

    ids: Mapping[str, IdSlot]
    dense: tuple[str, ...]
    newest: int


class Sequence:
    """A history: list columns of which element i is event i, oldest first; the last ``newest`` are kept.

    An element is an Id, a Dense, a LogAge, or a string, which is short for ids that share the table named
    like the element: ``video="c"`` is ``video=Id("c", table="video")``. An Id without a table has one of its
    own, named ``history.video``. In every sample all columns must hold lists of one length. A null list is an
    empty one; a null id inside a list raises, as dropping it would break the alignment. Null numbers follow
    their Dense's ``missing``.
    """

    __slots__ = ("elements", "newest")

    elements: Mapping[str, Element]
    newest: int

    def __init__(self, *, newest: int, **elements: Element | str) -> None:
        if type(newest) is not int or newest < 1:
            raise ConfigError(f"Sequence has newest={newest!r}; it must be a whole number above 0")
        known: dict[str, Element] = {}
        for name, element in elements.items():
            if not name.isidentifier():
                raise ConfigError(
                    f"a sequence element is named '{name}'; use a name that is a Python identifier"
                )
            if isinstance(element, str):
                known[name] = Id(element, table=name)
            elif isinstance(element, Id | Dense | LogAge):
                known[name] = element
            else:
                raise ConfigError(
                    f"sequence element '{name}' is {element!r}; it must be a column name, Id, Dense or LogAge"
                )
        if not any(isinstance(element, Id) for element in known.values()):
            raise ConfigError(
                "a Sequence needs at least one element of ids, for example video='hist_video_id'"
            )
        object.__setattr__(self, "elements", MappingProxyType(known))
        object.__setattr__(self, "newest", newest)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Sequence does not change; make a new one to set {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return self.newest == other.newest and list(self.elements.items()) == list(other.elements.items())

    def __hash__(self) -> int:
        return hash((self.newest, tuple(self.elements.items())))

    def __repr__(self) -> str:
        inside = "".join(f"{name}={element!r}, " for name, element in self.elements.items())
        return f"Sequence({inside}newest={self.newest})"

    @property
    def columns(self) -> tuple[str, ...]:
        """Input columns it reads."""
        return tuple(element.column for element in self.elements.values())

    @property
    def is_fitted(self) -> bool:
        """Whether every number of it is fitted."""
        return all(e.is_fitted for e in self.elements.values() if isinstance(e, Dense))

    @property
    def needs_time(self) -> bool:
        """Whether it reads the sample's time."""
        return any(isinstance(element, LogAge) for element in self.elements.values())

    def read(self, records: Records, now: Ids | None) -> Callable[[], tuple[History, dict[str, int]]]:
        """Plan to read it; called after the run, gives its History and each Dense element's missing values.

        ``now``: the samples' times, for LogAge. Raises DataError where two columns differ in length and on a
        null id.
        """
        columns: dict[str, tuple[ListView, Ranges]] = {}
        first = next(iter(self.elements))
        for name, element in self.elements.items():
            kinds = ID if isinstance(element, Id) else NUMBER if isinstance(element, Dense) else TIME
            view = records.lists(element.column, kinds)
            columns[name] = view, records.ranges(element.column, view, self.newest)
            if name != first:
                why = "columns of one sequence must agree in length"
                records.same_lengths(self.columns[0], columns[first][0], element.column, view, why)
        offsets = columns[first][1].offsets
        count = sum(not isinstance(element, Id) for element in self.elements.values())
        numbers = np.empty((int(offsets[-1]), count), np.float32)
        ids: dict[str, Callable[[], Ids]] = {}
        missing: dict[str, Callable[[], int]] = {}
        index = 0
        for name, element in self.elements.items():
            view, ranges = columns[name]
            if isinstance(element, Id):
                records.no_nulls(element.column, view.child, ranges, _NULL_ID)
                ids[name] = records.ids(element.column, view.child, ranges)
                continue
            if isinstance(element, Dense):
                missing[name] = element.write(records, view.child, ranges, numbers, index)
            else:
                assert now is not None
                records.no_nulls(element.column, view.child, ranges, "the time of an event must be known")
                records.reads.log_ages(view.child, ranges, now, numbers, index)
            index += 1

        def done() -> tuple[History, dict[str, int]]:
            absent = {name: count() for name, count in missing.items()}
            return History(offsets, {name: read() for name, read in ids.items()}, numbers), absent

        return done


_NULL_ID = "an id in a sequence must be known, or columns lose their alignment; fill it or drop the event"
