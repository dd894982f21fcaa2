"""Parts of a time as small ids: the hour of the day, the day of the week.

Knows no calendar beyond that, and no time zones.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from larix.batch import Jagged
from larix.errors import ConfigError
from larix.features import kernels
from larix.features.records import TIME, Records
from larix.features.slot import Pool, check_table, jagged


def _check_offset(owner: object, column: str, hours: object) -> None:
    if not isinstance(hours, int | float) or isinstance(hours, bool) or not -24 < hours < 24:
        raise ConfigError(
            f"{type(owner).__name__}('{column}') has utc_offset {hours!r}; it is hours between -24 and 24"
        )


@dataclass(frozen=True, slots=True)
class Hour:
    """The hour of the day, 0 to 23, at ``utc_offset`` hours from UTC.

    The column holds milliseconds since the epoch or timestamps. A null is no id.
    """

    column: str
    _: KW_ONLY
    utc_offset: float = 0.0
    dim: int | None = None
    table: str | None = None
    pool: ClassVar[Pool] = "sum"

    def __post_init__(self) -> None:
        check_table(self, self.column, self.dim, self.table)
        _check_offset(self, self.column, self.utc_offset)

    @property
    def columns(self) -> tuple[str, ...]:
        """Input columns it reads."""
        return (self.column,)

    @property
    def shift_ms(self) -> int:
        """What is added to times."""
        return round(self.utc_offset * 3_600_000)

    def read(self, records: Records) -> Callable[[], tuple[Jagged, int]]:
        """Plan to read it; called after the run, gives its ids and how many samples have none."""
        return _read(records, self.column, "hour", self.shift_ms)


@dataclass(frozen=True, slots=True)
class Weekday:
    """The day of the week, Monday 0 to Sunday 6, at ``utc_offset`` hours from UTC; see Hour."""

    column: str
    _: KW_ONLY
    utc_offset: float = 0.0
    dim: int | None = None
    table: str | None = None
    pool: ClassVar[Pool] = "sum"

    def __post_init__(self) -> None:
        check_table(self, self.column, self.dim, self.table)
        _check_offset(self, self.column, self.utc_offset)

    @property
    def columns(self) -> tuple[str, ...]:
        """Input columns it reads."""
        return (self.column,)

    @property
    def shift_ms(self) -> int:
        """What is added to times."""
        return round(self.utc_offset * 3_600_000)

    def read(self, records: Records) -> Callable[[], tuple[Jagged, int]]:
        """Plan to read it; called after the run, gives its ids and how many samples have none."""
        return _read(records, self.column, "weekday", self.shift_ms)


def _read(
    records: Records, column: str, part: Literal["hour", "weekday"], shift_ms: int
) -> Callable[[], tuple[Jagged, int]]:
    view = records.flat(column, TIME)
    ids, _ = records.reads.time_parts(view, part, shift_ms)
    return lambda: jagged(ids, kernels.read_known(view, None) if view.nulls else None)
