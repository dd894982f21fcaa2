import gc
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix import data
from larix.errors import ConfigError, DataError


def write_files(folder, sizes, group=7):
    first = 0
    for at, size in enumerate(sizes):
        rows = np.arange(first, first + size)
        lists = pa.array([[row] * (row % 3) for row in rows.tolist()], pa.list_(pa.int64()))
        table = pa.table({"id": rows, "list": lists, "time_ms": rows})
        pq.write_table(table, folder / f"{at}.parquet", row_group_size=group)
        first += size
    return data.files(folder)


@pytest.fixture
def source(tmp_path):
    return write_files(tmp_path, [30, 1, 20, 0, 49])


def ids(batches):
    return [batch["id"].to_pylist() for batch in batches]


def flat(batches):
    return [value for batch in ids(batches) for value in batch]


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "larix-ahead"]


def wait_for_no_threads():
    for _ in range(500):
        if not threads():
            return
        time.sleep(0.01)
    raise AssertionError(f"still running: {threads()}")


def test_batches_have_one_size_across_files_and_the_last_is_kept(source):
    batches = list(source.stream(batch_size=16))
    assert [len(batch) for batch in batches] == [16] * 6 + [4]
    assert flat(batches) == list(range(100))


def test_shuffling_permutes_within_windows_only(source):
    got = flat(source.stream(batch_size=8, shuffle=25, seed=3))
    assert got != list(range(100))
    for window in range(4):
        assert sorted(got[window * 25 : window * 25 + 25]) == list(range(window * 25, window * 25 + 25))


def test_rows_stay_whole_when_shuffled(source):
    for batch in source.stream(batch_size=9, shuffle=40):
        for row in batch.to_pylist():
            assert row["list"] == [row["id"]] * (row["id"] % 3)


def test_the_order_is_a_function_of_seed_and_epoch(source):
    def order(**options):
        return flat(source.stream(shuffle=50, **options))

    assert order(seed=1) == order(seed=1, batch_size=3, prefetch=0)
    assert len({tuple(order(seed=seed, epoch=epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4
    assert order(seed=1, epoch=0, epochs=2) == order(seed=1) + order(seed=1, epoch=1)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    group=st.integers(1, 20),
    batch_size=st.integers(1, 30),
    shuffle=st.integers(0, 40),
    epochs=st.integers(1, 3),
    prefetch=st.integers(0, 2),
    low=st.integers(0, 30),
    choice=st.integers(0, 10**6),
)
def test_a_position_resumes_to_the_same_batches(
    tmp_path_factory, sizes, group, batch_size, shuffle, epochs, prefetch, low, choice
):
    source = write_files(tmp_path_factory.mktemp("resume"), sizes, group)
    source = source.between(f"1970-01-01T00:00:00.{low:03}", None)
    options = {"batch_size": batch_size, "shuffle": shuffle, "seed": 5, "epochs": epochs}
    stream = source.stream(**options, prefetch=prefetch)
    positions, batches = [stream.position], []
    for batch in stream:
        batches.append(batch)
        positions.append(stream.position)
    assert len(flat(batches)) == epochs * source.rows == epochs * max(0, sum(sizes) - low)
    at = choice % len(positions)
    position = data.Position.from_json(positions[at].to_json())
    assert position == positions[at]
    resumed = source.stream(**options, prefetch=prefetch, position=position)
    assert resumed.position == position
    assert ids(resumed) == ids(batches[at:])


def test_what_is_read_ahead_does_not_count_in_the_position(source):
    with source.stream(batch_size=10, shuffle=30, prefetch=8) as stream:
        next(stream)
        time.sleep(0.05)
        assert (stream.position.epoch, stream.position.row) == (0, 10)


def test_a_position_survives_moving_the_files(source, tmp_path):
    with source.stream(batch_size=10, shuffle=30) as stream:
        next(stream)
        position = stream.position
        rest = ids(stream)
    (tmp_path / "moved").mkdir()
    for path in source.paths:
        path.rename(tmp_path / "moved" / path.name)
    assert ids(data.files(tmp_path / "moved").stream(batch_size=10, shuffle=30, position=position)) == rest


@pytest.mark.parametrize("change", [{"seed": 1}, {"shuffle": 31}, {"shuffle": 0}])
def test_a_position_in_another_order_is_refused(source, change):
    position = source.stream(shuffle=30, prefetch=0).position
    with pytest.raises(ConfigError, match="another order of rows"):
        source.stream(**{"shuffle": 30} | change, position=position)
    with pytest.raises(ConfigError, match="another order of rows"):
        source.between("1970-01-01", None).stream(shuffle=30, position=position)


def test_a_position_of_an_epoch_out_of_reach_is_refused(source):
    position = source.stream(epoch=3, prefetch=0).position
    with pytest.raises(ConfigError, match="the position is in epoch 3 but the stream has 0 to 1"):
        source.stream(epochs=2, position=position)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"epoch": 1, "row": 2}', '{"epoch": "1", "row": 2, "order": "x"}']
)
def test_what_is_no_position_is_refused(text):
    with pytest.raises(DataError, match="is not a position in a stream"):
        data.Position.from_json(text)


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 0}, {"shuffle": -1}, {"seed": -1}, {"epoch": -1}, {"epochs": 0}, {"prefetch": -1}],
)
def test_arguments_out_of_range_are_named(source, wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"{name} must .*, got {wrong[name]}"):
        source.stream(**wrong)


def test_an_error_while_reading_reaches_the_consumer_after_the_batches_before_it(source):
    damaged = source.paths[2]
    damaged.write_bytes(damaged.read_bytes()[:40])
    stream = source.stream(batch_size=10)
    assert flat([next(stream), next(stream), next(stream)]) == list(range(30))
    with pytest.raises(DataError, match=r"2\.parquet' cannot be read as Parquet"):
        next(stream)
    wait_for_no_threads()


def test_closing_leaving_or_forgetting_a_stream_ends_its_threads(source):
    stream = source.stream(batch_size=1, shuffle=2, prefetch=1)
    next(stream)
    assert len(threads()) == 2
    stream.close()
    assert list(stream) == []
    wait_for_no_threads()
    with source.stream(batch_size=1, shuffle=2, prefetch=1) as stream:
        next(stream)
    wait_for_no_threads()
    stream = source.stream(batch_size=1, shuffle=2, prefetch=1)
    next(stream)
    del stream
    gc.collect()
    wait_for_no_threads()


def test_streams_of_one_source_do_not_disturb_each_other(source):
    one, two = (source.stream(batch_size=7, shuffle=13, seed=seed) for seed in (1, 2))
    mixed = [(next(one), next(two)) for _ in range(15)]
    assert flat([pair[0] for pair in mixed]) == flat(source.stream(batch_size=7, shuffle=13, seed=1))
    assert flat([pair[1] for pair in mixed]) == flat(source.stream(batch_size=7, shuffle=13, seed=2))


def test_no_schema_of_a_batch_differs_from_the_streams(source):
    stream = source.stream(columns=["list", "id"], batch_size=9, shuffle=10)
    assert all(batch.schema == stream.schema for batch in stream)
