from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix import data
from larix.errors import ConfigError, DataError

HOUR = 3_600_000
START = 1_650_844_800_000  # 2022-04-25 00:00 UTC


def table_of(hours, first_id=0):
    hours = np.asarray(hours, dtype=np.int64)
    return pa.table(
        {
            "id": np.arange(first_id, first_id + len(hours)),
            "time_ms": START + hours * HOUR,
            "date": 20220425 + hours // 24,
            "list": pa.array([[at] * (at % 3) for at in range(len(hours))], pa.list_(pa.int64())),
        }
    )


@pytest.fixture
def days(tmp_path):
    """Three files of one day each, in row groups of eight hours."""
    for day in range(3):
        hours = np.arange(day * 24, day * 24 + 24)
        pq.write_table(table_of(hours, day * 24), tmp_path / f"2022-04-2{5 + day}.parquet", row_group_size=8)
    return tmp_path


def ids(source, **options):
    return [value for batch in source.stream(columns=["id"], **options) for value in batch["id"].to_pylist()]


def test_files_are_found_by_folder_pattern_list_and_name_and_sorted(days):
    everything = list(range(72))
    assert ids(data.files(days)) == everything
    assert ids(data.files(str(days / "*.parquet"))) == everything
    assert ids(data.files([days / "2022-04-27.parquet", str(days / "2022-04-2[56].parquet")])) == everything
    assert ids(data.files(days / "2022-04-26.parquet")) == everything[24:48]


def test_a_folder_is_read_without_its_other_files(days):
    (days / "card.json").write_text("{}")
    (days / ".2022-04-28.parquet").write_bytes(b"half written")
    (days / "_SUCCESS.csv").write_text("")
    assert data.files(days).rows == 72


def test_no_file_is_an_error_that_says_what_was_looked_for(tmp_path):
    for where in (tmp_path, tmp_path / "*.parquet", tmp_path / "gone.parquet"):
        with pytest.raises(DataError, match="no file matches '"):
            data.files(where)
    with pytest.raises(DataError, match="at least one file"):
        data.files([])


def test_days_include_both_ends_and_are_utc_by_default(days):
    source = data.files(days).between("2022-04-25", "2022-04-26")
    assert ids(source) == list(range(48))
    assert source.rows == 48
    assert ids(data.files(days).between("2022-04-26", "2022-04-26")) == list(range(24, 48))


def test_days_follow_the_offset_or_the_day_column(days):
    assert ids(data.files(days, utc_offset_hours=8).between("2022-04-26", "2022-04-26")) == list(
        range(16, 40)
    )
    assert ids(data.files(days, day="date", utc_offset_hours=8).between(None, "2022-04-25")) == list(
        range(24)
    )


def test_times_exclude_the_last(days):
    source = data.files(days).between(datetime(2022, 4, 25, 6, tzinfo=UTC), "2022-04-25T09:00")
    assert ids(source) == [6, 7, 8]
    assert source.rows == 3


def test_spans_add_up(days):
    source = (
        data.files(days).between("2022-04-25", "2022-04-26").between("2022-04-26T12:00", "2022-04-27T12:00")
    )
    assert ids(source) == list(range(36, 48))


def test_days_without_rows_are_an_empty_stream(days):
    source = data.files(days).between("2023-01-01", "2023-01-01")
    assert source.rows == 0
    assert list(source.stream()) == []


def test_row_groups_outside_the_days_are_not_read(days):
    path = days / "2022-04-25.parquet"
    file = bytearray(path.read_bytes())
    first = pq.read_metadata(path).row_group(0)
    file[first.column(0).data_page_offset : first.column(3).data_page_offset] = b"\xff" * (
        first.column(3).data_page_offset - first.column(0).data_page_offset
    )
    path.write_bytes(file)
    assert ids(data.files(days).between("2022-04-25T08:00", "2022-04-25T20:00")) == list(range(8, 20))
    assert data.files(days).rows == 72  # the footers say so
    with pytest.raises(DataError, match=r"2022-04-25\.parquet' cannot be read"):
        ids(data.files(days).between("2022-04-25T07:00", "2022-04-25T20:00"))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-5, 40), min_size=1, max_size=60),
    st.integers(1, 20),
    st.integers(0, 40),
    st.integers(1, 30),
)
def test_between_agrees_with_a_plain_filter_whatever_the_order(tmp_path_factory, hours, group, first, length):
    folder = tmp_path_factory.mktemp("between")
    table = table_of(hours)
    pq.write_table(table, folder / "a.parquet", row_group_size=group)
    with pa.ipc.new_file(folder / "b.arrow", table.schema) as sink:
        sink.write_table(table)
    low, high = (datetime.fromtimestamp((START + at * HOUR) / 1000, UTC) for at in (first, first + length))
    expected = [at for at, hour in enumerate(hours) if first <= hour < first + length]
    for name in ("a.parquet", "b.arrow"):
        source = data.files(folder / name).between(low, high)
        assert ids(source) == expected
        assert source.rows == len(expected)


def test_a_skip_goes_on_with_the_row_after_it(days):
    source = data.files(days).between("2022-04-25T05:00", "2022-04-27T05:00")
    for skip in (0, 1, 18, 19, 20, 47, 48, 99):
        got = [value for batch in source.batches(["id"], skip=skip) for value in batch["id"].to_pylist()]
        assert got == list(range(5 + skip, 53))


def test_columns_come_in_the_order_asked_for_and_all_by_default(days):
    (batch,) = data.files(days / "2022-04-25.parquet").stream(columns=["list", "id"])
    assert batch.schema.names == ["list", "id"]
    (batch,) = data.files(days / "2022-04-25.parquet").stream()
    assert batch.schema == data.files(days).schema
    assert batch.schema.names == ["id", "time_ms", "date", "list"]


def test_a_missing_column_is_named_with_those_there(days):
    source = data.files(days)
    with pytest.raises(DataError, match="has no column 'idd'; it has id, time_ms, date, list"):
        source.stream(columns=["id", "idd"])
    with pytest.raises(DataError, match="has no column 'when'"):
        data.files(days, time="when").between("2022-04-25", None)
    with pytest.raises(ConfigError, match="columns is empty"):
        source.stream(columns=[])


def test_a_file_of_another_schema_is_named(days):
    other = days / "2022-04-26.parquet"
    pq.write_table(table_of([1]).drop_columns(["date"]), other)
    with pytest.raises(
        DataError, match=r"2022-04-26\.parquet' has no column 'date' as '.*2022-04-25\.parquet' has"
    ):
        list(data.files(days).stream())
    assert len(ids(data.files(days))) == 49  # columns that are not read may differ
    pq.write_table(table_of([1]).set_column(0, "id", pa.array(["one"])), other)
    with pytest.raises(DataError, match=r"column 'id' is string in '.*2022-04-26\.parquet' but int64 in"):
        ids(data.files(days))


def test_nulls_in_the_time_column_are_an_error_when_days_are_asked_for(tmp_path):
    pq.write_table(pa.table({"id": [1, 2], "time_ms": pa.array([START, None])}), tmp_path / "a.parquet")
    assert ids(data.files(tmp_path)) == [1, 2]
    with pytest.raises(DataError, match=r"column 'time_ms' of '.*a\.parquet' has nulls"):
        ids(data.files(tmp_path).between("2022-04-25", None))


def test_csv_files_are_read_with_the_types_of_the_first(tmp_path):
    pcsv.write_csv(pa.table({"id": [1, 2], "x": [0.5, 1.5]}), tmp_path / "1.csv")
    pcsv.write_csv(pa.table({"id": [3], "x": [2]}), tmp_path / "2.csv")
    assert [batch.to_pydict() for batch in data.files(tmp_path).stream()] == [
        {"id": [1, 2, 3], "x": [0.5, 1.5, 2.0]}
    ]
    assert data.files(tmp_path).rows == 3
    (tmp_path / "3.csv").write_text("id,x\n4,high\n")
    with pytest.raises(DataError, match=r"3\.csv' cannot be read as CSV.*high"):
        list(data.files(tmp_path).stream())


def test_dictionary_columns_of_several_files_are_one_column(tmp_path):
    for at, words in enumerate((["a", "b"], ["c", "a"])):
        table = pa.table({"s": pa.array(words).dictionary_encode()})
        with pa.ipc.new_file(tmp_path / f"{at}.arrow", table.schema) as sink:
            sink.write_table(table)
    (batch,) = data.files(tmp_path).stream(shuffle=4)
    assert sorted(batch["s"].to_pylist()) == ["a", "a", "b", "c"]


def test_the_fingerprint_changes_with_files_and_days_only(days, tmp_path):
    source = data.files(days)
    assert source.fingerprint == data.files(str(days / "*.parquet")).fingerprint
    assert source.fingerprint != source.between("2022-04-25", None).fingerprint
    assert source.fingerprint != data.files(days / "2022-04-25.parquet").fingerprint
    (days / "2022-04-25.parquet").unlink()
    with pytest.raises(DataError, match="a file of the source is gone"):
        _ = data.files(days / "2022-04-2*.parquet").__class__(paths=(days / "gone.parquet",)).fingerprint


def test_an_offset_of_more_than_a_day_is_refused(days):
    with pytest.raises(ConfigError, match="utc_offset_hours must lie between -24 and 24, got 800"):
        data.files(days, utc_offset_hours=800)
