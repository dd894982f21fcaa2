import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from larix.train.online.batches import Cutter, milliseconds


def table(ids, times, **more):
    columns = {"id": pa.array(ids, pa.int64()), "ready_ms": pa.array(times, pa.int64())}
    return pa.table(columns | more)


def cut(samples, pieces, size, span, restarts=()):
    """The batches that come out when ``samples`` come in ``pieces``."""
    cutter, found, at = Cutter(["id"], None, size, span), [], 0
    for number, piece in enumerate([*pieces, len(samples)]):
        cutter.push(samples.slice(at, max(0, piece - at)))
        at = max(at, piece)
        if number in restarts:
            said, content = cutter.save()
            cutter = Cutter(["id"], None, size, span)
            cutter.restore(said, content)
        while (one := cutter.pop()) is not None:
            found.append(one)
            if number in restarts:
                said, content = cutter.save()
                cutter = Cutter(["id"], None, size, span)
                cutter.restore(said, content)
    while (one := cutter.rest()) is not None:
        found.append(one)
    assert cutter.pending == 0
    return [(one.records["id"].to_pylist(), one.event_ms) for one in found]


@given(
    st.lists(st.integers(0, 1000), max_size=80),
    st.lists(st.integers(0, 80), max_size=8).map(sorted),
    st.integers(1, 20),
    st.integers(1, 300),
    st.sets(st.integers(0, 8)),
)
def test_batches_are_the_same_however_samples_come(times, pieces, size, span, restarts):
    samples = table(range(len(times)), times)
    found = cut(samples, pieces, size, span, restarts)
    assert found == cut(samples, [], size, span)
    assert [one for ids, _ in found for one in ids] == list(range(len(times)))
    reached = np.maximum.accumulate(np.array(times, np.int64))
    for ids, event_ms in found:
        assert 1 <= len(ids) <= size
        assert event_ms == reached[ids[-1]]
        assert reached[ids[-1]] - reached[ids[0]] <= span
        following = ids[-1] + 1
        ends = len(ids) == size or following == len(times) or reached[following] - reached[ids[0]] > span
        assert ends, "a batch ended before it had to"


def test_one_that_is_not_full_waits_for_a_sample_and_for_nothing_else():
    cutter = Cutter(["id"], None, 10, 100)
    cutter.push(table([1, 2], [0, 100]))
    assert cutter.pop() is None
    cutter.push(table([3], [101]))
    assert cutter.pop().records["id"].to_pylist() == [1, 2]
    assert cutter.pop() is None
    assert cutter.pending == 1


def test_columns_that_are_not_asked_for_are_left_and_those_missing_are_null():
    cutter = Cutter(["id", "age"], None, 4, 1000)
    assert not cutter.push(table([1], [1], odd=pa.array(["x"])))
    assert not cutter.push(table([2], [2], age=pa.array([7])))
    assert not cutter.push(table([3, 4], [3, 4]))
    records = cutter.pop().records
    assert records.to_pydict() == {"id": [1, 2, 3, 4], "age": [None, 7, None, None], "ready_ms": [1, 2, 3, 4]}


def test_a_column_that_changes_its_type_is_told_and_not_held():
    cutter = Cutter(["id"], None, 2, 1000)
    cutter.push(table([1], [1]))
    assert "of another type" in cutter.push(pa.table({"id": ["x"], "ready_ms": [2]}))
    assert cutter.pending == 1
    cutter.push(table([2], [3]))
    assert cutter.pop().records["id"].to_pylist() == [1, 2]


def test_without_ready_times_those_of_the_samples_count():
    cutter = Cutter(["id", "time_ms"], "time_ms", 10, 100)
    cutter.push(pa.table({"id": [1, 2, 3], "time_ms": [0, 50, 200]}))
    assert cutter.pop().records["id"].to_pylist() == [1, 2]


def test_times_of_any_kind_are_milliseconds():
    stamps = pa.chunked_array([pa.array([1_500_000, None], pa.timestamp("us"))])
    assert milliseconds(stamps).tolist() == [1500, 0]
    assert milliseconds(pa.chunked_array([pa.array([3, None], pa.int32())])).tolist() == [3, 0]
    assert milliseconds(pa.chunked_array([pa.array(["x"])])).tolist() == [0]
