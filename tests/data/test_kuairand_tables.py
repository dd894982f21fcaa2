import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_kuairand import START, log_of

from larix.data.kuairand_tables import inputs, read
from larix.errors import DataError


def tables_of(folder):
    return read(inputs(folder, random=False))


def test_the_first_of_exact_repeats_is_kept_and_rows_are_sorted_by_time(folder_of):
    rows = [
        {"user_id": 1, "video_id": 1, "time_ms": START + 9},
        {"user_id": 2, "video_id": 1, "time_ms": START + 3, "is_click": 1},
        {"user_id": 1, "video_id": 1, "time_ms": START + 9, "is_click": 1},
        {"user_id": 1, "video_id": 2, "time_ms": START + 3},
    ]
    tables = tables_of(folder_of(log_of(rows)))
    assert tables.repeats_dropped == 1
    assert tables.log.select(["user_id", "video_id", "is_click"]).to_pylist() == [
        {"user_id": 2, "video_id": 1, "is_click": 1},
        {"user_id": 1, "video_id": 2, "is_click": 0},
        {"user_id": 1, "video_id": 1, "is_click": 0},
    ]


def test_several_logs_are_read_in_the_order_of_their_names(folder_of):
    folder = folder_of(log_of([{"user_id": 1, "is_click": 1}]))
    pq.write_table(log_of([{"user_id": 1}, {"user_id": 2}]), folder / "log_standard_4_08_to_4_21.parquet")
    tables = tables_of(folder)
    assert tables.log["user_id"].to_pylist() == [1, 2]
    assert tables.log["is_click"].to_pylist() == [0, 0]


def test_columns_the_log_has_beyond_the_known_ones_are_kept(folder_of):
    folder = folder_of(log_of([{"user_id": 1}]).append_column("p_is_click", pa.array([0.25])))
    assert tables_of(folder).log["p_is_click"].to_pylist() == [0.25]


@pytest.mark.parametrize("missing", ["log_standard_4_22_to_5_08", "user_features", "video_features_basic"])
def test_a_missing_file_is_named(folder_of, missing):
    folder = folder_of(log_of([{"user_id": 1}]))
    (folder / f"{missing}.parquet").unlink()
    with pytest.raises(DataError, match=rf"no '{missing[:12]}.*' in '.*published'; give the folder"):
        tables_of(folder)


def test_a_missing_column_is_named_with_those_there(folder_of):
    folder = folder_of(log_of([{"user_id": 1}]).drop_columns(["long_view"]))
    with pytest.raises(
        DataError, match=r"log_standard.*parquet' has no column 'long_view'; it has user_id, video_id"
    ):
        tables_of(folder)


def test_a_damaged_file_is_named(folder_of):
    folder = folder_of(log_of([{"user_id": 1}]))
    path = folder / "user_features.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"user_features\.parquet' cannot be read"):
        tables_of(folder)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("tab", pa.array([1.5]), "column 'tab' of .* is not int32"),
        ("is_click", pa.array(["yes"]), "column 'is_click' of .* is not int8"),
        ("time_ms", pa.array([None], pa.int64()), "'time_ms' has 1 nulls"),
    ],
)
def test_a_value_of_another_type_names_column_and_file(folder_of, name, values, message):
    log = log_of([{"user_id": 1}])
    folder = folder_of(log.set_column(log.column_names.index(name), name, values))
    with pytest.raises(DataError, match=message):
        tables_of(folder)


def test_a_user_that_comes_twice_is_named(folder_of):
    folder = folder_of(log_of([{"user_id": 1}]))
    users = pq.read_table(folder / "user_features.parquet")
    pq.write_table(pa.concat_tables([users, users]), folder / "user_features.parquet")
    with pytest.raises(DataError, match="has user_id 1 more than once"):
        tables_of(folder)


def test_tags_that_are_not_numbers_name_the_file(folder_of):
    folder = folder_of(log_of([{"user_id": 1}]))
    videos = pq.read_table(folder / "video_features_basic.parquet")
    videos = videos.set_column(videos.column_names.index("tag"), "tag", pa.array(["3;4"] * len(videos)))
    pq.write_table(videos, folder / "video_features_basic.parquet")
    with pytest.raises(DataError, match=r"column 'tag' of '.*video_features_basic\.parquet' is not numbers"):
        tables_of(folder)
