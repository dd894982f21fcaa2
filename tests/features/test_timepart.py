from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix import features as fx
from larix.errors import ConfigError


def parts(array, utc_offset=0.0):
    sample = fx.Sample(
        hour=fx.Hour("t", dim=2, utc_offset=utc_offset), day=fx.Weekday("t", dim=2, utc_offset=utc_offset)
    )
    batch = sample.transform(pa.RecordBatch.from_pydict({"t": array}))
    return batch.ids["hour"].values.tolist(), batch.ids["day"].values.tolist()


@given(
    st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), max_size=20),
    st.sampled_from([0, 8, -3.5, 5.75]),
)
def test_hour_and_weekday_are_the_calendars(times, utc_offset):
    local = [t.replace(tzinfo=timezone(timedelta(hours=utc_offset))) for t in times]
    ms = [(t - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) for t in local]
    expected = [t.hour for t in local], [t.weekday() for t in local]
    assert parts(pa.array(ms, pa.int64()), utc_offset) == expected
    for unit in ("ms", "us"):
        stamps = pa.array([t.astimezone(UTC).replace(tzinfo=None) for t in local], pa.timestamp(unit))
        assert parts(stamps, utc_offset) == expected


def test_timestamps_of_every_unit_and_zone_are_read_as_utc():
    monday_noon = datetime(2022, 4, 25, 12, 59, 59)
    for dtype in (pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", "Asia/Shanghai")):
        assert parts(pa.array([monday_noon], dtype)) == ([12], [0])


def test_the_moment_before_the_epoch_is_the_last_hour_of_a_wednesday():
    assert parts([-1]) == ([23], [2])
    assert parts(pa.array([-1], pa.timestamp("ns"))) == ([23], [2])
    assert parts([0]) == ([0], [3])


def test_a_null_time_is_no_id_and_is_counted():
    sample = fx.Sample(hour=fx.Hour("t", dim=2), day=fx.Weekday("t", dim=2))
    batch = sample.transform(pa.RecordBatch.from_pydict({"t": [0, None]}))
    assert batch.ids["hour"].offsets.tolist() == batch.ids["day"].offsets.tolist() == [0, 1, 1]
    assert batch.missing == {"hour": 1, "day": 1}


@pytest.mark.parametrize("offset", [24, -24, "8", True, float("nan")])
def test_an_offset_that_is_no_number_of_hours_is_refused(offset):
    with pytest.raises(ConfigError, match=r"utc_offset .*; it is hours between -24 and 24"):
        fx.Hour("t", dim=2, utc_offset=offset)
    with pytest.raises(ConfigError, match="utc_offset"):
        fx.Weekday("t", dim=2, utc_offset=offset)
