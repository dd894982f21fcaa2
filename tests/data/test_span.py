from datetime import UTC, date, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix.data.span import Span, span
from larix.errors import ConfigError, DataError

CHINA = timezone(timedelta(hours=8))


def of(first, last, **options):
    return span(first, last, **{"time": "t", "day": None, "utc_offset_hours": 0} | options)


def test_days_are_both_included_and_begin_at_the_offset():
    found = of("2022-04-25", date(2022, 4, 26), utc_offset_hours=8)
    assert found == Span("t", datetime(2022, 4, 25, tzinfo=CHINA), datetime(2022, 4, 27, tzinfo=CHINA))


def test_days_are_told_by_the_day_column_where_there_is_one():
    assert of("2022-04-30", "2022-04-30", day="d") == Span("d", date(2022, 4, 30), date(2022, 5, 1))


def test_times_are_told_by_the_time_column_and_the_last_is_excluded():
    found = of("2022-04-25T18:00", datetime(2022, 4, 26, tzinfo=UTC), day="d", utc_offset_hours=8)
    assert found == Span("t", datetime(2022, 4, 25, 18, tzinfo=CHINA), datetime(2022, 4, 26, tzinfo=UTC))
    milliseconds = [1650880800000 - 1, 1650880800000, 1650931200000 - 1, 1650931200000]
    assert found.mask(pa.array(milliseconds)).to_pylist() == [False, True, True, False]


def test_a_side_may_be_open():
    assert of(None, "2022-04-25", day="d") == Span("d", None, date(2022, 4, 26))
    assert of("2022-04-25", None, day="d").mask(pa.array([20220424, 20220425])).to_pylist() == [False, True]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Shanghai"])
def test_timestamps_of_any_unit_are_compared_as_instants(unit, zone):
    start = datetime(2022, 4, 25, tzinfo=UTC)
    wanted = of(start, start + timedelta(seconds=2))
    times = pa.array([start + timedelta(seconds=at) for at in (-1, 0, 1, 2)], pa.timestamp("us", "UTC"))
    values = times.cast(pa.timestamp(unit, "UTC")).cast(pa.timestamp(unit, zone))
    if zone == "Asia/Shanghai":
        assert str(values[1]).startswith("2022-04-25 08:00:00")
    assert wanted.mask(values).to_pylist() == [False, True, True, False]


def test_bounds_between_two_units_are_rounded_up():
    start = datetime(2022, 4, 25, tzinfo=UTC)
    half = timedelta(milliseconds=500)
    wanted = of(start + half, start + timedelta(seconds=1) + half)
    values = pa.array([start, start + 2 * half, start + 4 * half], pa.timestamp("s", "UTC"))
    assert wanted.mask(values).to_pylist() == [False, True, False]


@pytest.mark.parametrize(
    ("values", "kind"),
    [([20220424, 20220425, 20220426, 20220427], pa.int32()), ([19106, 19107, 19108, 19109], pa.date32())],
)
def test_days_are_whole_numbers_or_date32(values, kind):
    column = pa.array(values, pa.int32()).cast(kind)
    assert of("2022-04-25", "2022-04-26", day="d").mask(column).to_pylist() == [False, True, True, False]


@given(st.lists(st.integers(0, 10), min_size=1), st.integers(0, 10), st.integers(1, 5))
def test_what_a_range_covers_agrees_with_its_values(values, first, length):
    start = datetime(1970, 1, 1, tzinfo=UTC)
    wanted = of(start + timedelta(milliseconds=first), start + timedelta(milliseconds=first + length))
    inside = wanted.mask(pa.array(values, pa.int64())).to_pylist()
    covered = wanted.covers(pa.int64(), min(values), max(values))
    if covered is not None:
        assert inside == [covered] * len(values)
    if all(inside):
        assert covered is True


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2022-04-26", "2022-04-25", "the first is not before the last"),
        ("2022-04-25", "2022-04-25T10:00", "mixes a day with a time"),
        ("25 April", "2022-04-25", "'25 April' is neither a day like"),
        (None, None, "leaves nothing out"),
        ("2022-04-25T10:00", "2022-04-25T10:00", "the first is not before the last"),
    ],
)
def test_what_is_no_span_is_refused(first, last, message):
    with pytest.raises(ConfigError, match=message):
        of(first, last)


def test_a_column_that_tells_no_time_is_named_with_its_type():
    with pytest.raises(DataError, match="column 't' is string; time is told by"):
        of("2022-04-25", None).mask(pa.array(["2022-04-25"]))
    with pytest.raises(DataError, match="column 'd' is string; days are told by"):
        of("2022-04-25", None, day="d").mask(pa.array(["2022-04-25"]))
