"""A span of days or of time, told by one column's values. Knows nothing of files."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.compute as pc

from larix.errors import ConfigError, DataError

Bound = str | date | datetime | None
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


@dataclass(frozen=True, slots=True)
class Span:
    """The rows with ``first <= column < stop``; None is no bound.

    Bounds are datetimes with a time zone for a column of time (whole numbers are milliseconds since the
    epoch; a timestamp without a zone is UTC), or dates for a column of days (whole numbers like 20220425,
    or date32).
    """

    column: str
    first: date | datetime | None
    stop: date | datetime | None

    def mask(self, values: pa.Array) -> pa.BooleanArray:
        """Tell which of ``values`` (``[n]``, no nulls) lie in the span: bool ``[n]``."""
        first, stop = self.limits(values.type)
        numbers = values.cast(pa.int32() if pa.types.is_date32(values.type) else pa.int64())
        above = None if first is None else pc.greater_equal(numbers, first)
        below = None if stop is None else pc.less(numbers, stop)
        if above is None or below is None:
            return above if above is not None else below
        return pc.and_(above, below)

    def covers(self, kind: pa.DataType, least: object, most: object) -> bool | None:
        """Whether all (True), none (False) or some (None) values from ``least`` to ``most`` lie in it."""
        first, stop = self.limits(kind)
        whole = pa.int32() if pa.types.is_date32(kind) else pa.int64()
        low, high = (pa.scalar(value, kind).cast(whole).as_py() for value in (least, most))
        if (first is not None and high < first) or (stop is not None and low >= stop):
            return False
        return True if (first is None or low >= first) and (stop is None or high < stop) else None

    def limits(self, kind: pa.DataType) -> tuple[int | None, int | None]:
        """The bounds as whole numbers in the unit of a column of type ``kind``."""
        return _number(self.first, kind, self.column), _number(self.stop, kind, self.column)


def span(first: Bound, last: Bound, *, time: str, day: str | None, utc_offset_hours: float) -> Span:
    """Make the span from ``first`` to ``last``: days, both included, or times, the last one excluded.

    Args:
        first: '2022-04-25', a date, '2022-04-25T18:00' or a datetime; None leaves that side open. Times
            without a zone are in that of ``utc_offset_hours``.
        last: likewise.
        time: the column that times are told by, and days too unless there is a ``day`` column.
        day: a column that says the day, or None.
        utc_offset_hours: when days begin, where they are told by ``time``.

    Raises:
        ConfigError: not a day or a time; one of each; the first is after the last; both are open.
    """
    bounds = [_parsed(first), _parsed(last)]
    given = [bound for bound in bounds if bound is not None]
    if not given:
        raise ConfigError("between(None, None) leaves nothing out; give a first or a last day")
    timed = [isinstance(bound, datetime) for bound in given]
    if any(timed) != all(timed):
        raise ConfigError(f"between({first!r}, {last!r}) mixes a day with a time; give two days or two times")
    zone = timezone(timedelta(hours=utc_offset_hours))
    low, high = bounds
    if all(timed):
        low, high = (_zoned(bound, zone) for bound in bounds)
    elif high is not None:
        high = high + timedelta(days=1)
    if low is not None and high is not None and low >= high:
        raise ConfigError(f"between({first!r}, {last!r}) holds nothing: the first is not before the last")
    if all(timed):
        return Span(time, low, high)
    if day is not None:
        return Span(day, low, high)
    return Span(time, _midnight(low, zone), _midnight(high, zone))


def _parsed(bound: Bound) -> date | datetime | None:
    if not isinstance(bound, str):
        return bound
    for parse in (date.fromisoformat, datetime.fromisoformat):
        try:
            return parse(bound)
        except ValueError:
            continue
    raise ConfigError(f"'{bound}' is neither a day like 2022-04-25 nor a time like 2022-04-25T18:00")


def _zoned(bound: date | datetime | None, zone: timezone) -> datetime | None:
    if not isinstance(bound, datetime):
        return None
    return bound if bound.tzinfo is not None else bound.replace(tzinfo=zone)


def _midnight(day: date | None, zone: timezone) -> datetime | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=zone)


def _number(bound: date | datetime | None, kind: pa.DataType, column: str) -> int | None:
    if bound is None:
        return None
    if isinstance(bound, datetime):
        since = (bound - _EPOCH) // timedelta(microseconds=1)
        if pa.types.is_timestamp(kind) and kind.unit == "ns":
            return since * 1000
        if pa.types.is_timestamp(kind) or pa.types.is_integer(kind):
            unit = _MICROSECONDS[kind.unit if pa.types.is_timestamp(kind) else "ms"]
            return -(-since // unit)  # up, as whole units below the bound lie below the bound
        raise DataError(
            f"column '{column}' is {kind}; time is told by milliseconds (int64) or by a timestamp"
        )
    if pa.types.is_date32(kind):
        return bound.toordinal() - _EPOCH.toordinal()
    if pa.types.is_integer(kind):
        return bound.year * 10000 + bound.month * 100 + bound.day
    raise DataError(f"column '{column}' is {kind}; days are told by whole numbers like 20220425 or by date32")
