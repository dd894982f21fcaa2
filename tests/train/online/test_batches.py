import itertools

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


def test_a_value_of_another_type_ends_a_batch_and_costs_nobody():
    cutter = Cutter(["id"], None, 3, 1000)
    cutter.push(pa.table({"id": ["x"], "ready_ms": [1]}))
    cutter.push(table([1, 2], [2, 2]))
    cutter.push(pa.table({"id": pa.array([None, "y"]), "ready_ms": [3, 3]}))
    cutter.push(table([3, 4], [4, 4]))
    assert [cutter.pop().records["id"].to_pylist() for _ in range(3)] == [["x"], [1, 2, None], ["y"]]
    assert cutter.pop() is None
    cutter.push(pa.table({"id": [4.5], "ready_ms": [5]}))
    assert cutter.pop().records["id"].to_pylist() == [3.0, 4.0, 4.5]
    assert cutter.pending == 0
    cutter.push(table([5], [6]))
    assert cutter.rest().records["id"].type == pa.int64()


_NUMBER = {int: float}


def test_an_id_that_is_no_whole_number_is_a_batch_of_its_own_and_others_keep_their_bits():
    cutter = Cutter(["id", "past"], None, 9, 1000, ids={"id", "past"})
    large = 2**60 + 1
    cutter.push(table([large, 2], [1, 1], past=pa.array([[large], []])))
    cutter.push(pa.table({"id": [2.5], "ready_ms": [1]}))
    cutter.push(table([4], [1], past=pa.array([[0.5]])))
    cutter.push(table([5], [1], past=pa.array([[large]])))
    found = [cutter.rest().records for _ in range(4)]
    assert [each["id"].to_pylist() for each in found] == [[large, 2], [2.5], [4], [5]]
    assert [each["past"].to_pylist() for each in found] == [[[large], []], [None], [[0.5]], [[large]]]


ODD = {
    "whole": ([1, 2, 3, None], pa.int64()),
    "short": ([1, 2, 3, None], pa.int32()),
    "real": ([0.5, None], pa.float64()),
    "text": (["a", "b", None], pa.string()),
    "list": ([[1], [], None], pa.list_(pa.int64())),
    "none": ([None], pa.null()),
    "missing": ([None], None),
}


@given(
    st.lists(st.tuples(st.sampled_from([*ODD]), st.integers(1, 4), st.randoms()), min_size=1, max_size=12),
    st.lists(st.integers(0, 40), max_size=6).map(sorted),
    st.integers(1, 12),
    st.sets(st.integers(0, 6)),
)
def test_batches_of_columns_of_any_type_are_the_same_however_samples_come(appends, pieces, size, restarts):
    tables, told = [], []
    for kind, count, chance in appends:
        values, type_ = ODD[kind]
        some = [chance.choice(values) for _ in range(count)]
        more = {} if type_ is None else {"odd": pa.array(some, type_)}
        tables.append(table(range(len(told), len(told) + count), [0] * count, **more))
        told += [value if type_ is not None else None for value in some]

    def cut(pieces, restarts):
        cutter, found, rows = Cutter(["id", "odd"], None, size, 10), [], 0
        for number, each in enumerate(tables):
            for begin, end in itertools.pairwise(
                [0, *(at - rows for at in pieces if 0 < at - rows < len(each)), len(each)]
            ):
                cutter.push(each.slice(begin, end - begin))
                if number in restarts:
                    said, content = cutter.save()
                    cutter = Cutter(["id", "odd"], None, size, 10)
                    cutter.restore(said, content)
                while (one := cutter.pop()) is not None:
                    found.append(one.records)
            rows += len(each)
        while (one := cutter.rest()) is not None:
            found.append(one.records)
        return found

    found = cut(pieces, restarts)
    whole = cut([], ())
    assert [(each["id"].to_pylist(), each["odd"].to_pylist()) for each in found] == [
        (each["id"].to_pylist(), each["odd"].to_pylist()) for each in whole
    ]
    assert [value for each in found for value in each["odd"].to_pylist()] == told
    kinds = [
        {_NUMBER.get(type(value), type(value)) for value in each["odd"].to_pylist()} - {type(None)}
        for each in found
    ]
    assert all(len(each) <= 1 for each in kinds)
    for batch, here, following in zip(found, kinds, found[1:], strict=False):
        first = type(following["odd"][0].as_py())
        ends = len(batch) == size or (first is not type(None) and {_NUMBER.get(first, first)} != here)
        assert ends, "a batch ended before it had to"


def test_without_ready_times_those_of_the_samples_count():
    cutter = Cutter(["id", "time_ms"], "time_ms", 10, 100)
    cutter.push(pa.table({"id": [1, 2, 3], "time_ms": [0, 50, 200]}))
    assert cutter.pop().records["id"].to_pylist() == [1, 2]


def test_times_of_any_kind_are_milliseconds():
    stamps = pa.chunked_array([pa.array([1_500_000, None], pa.timestamp("us"))])
    assert milliseconds(stamps).tolist() == [1500, 0]
    assert milliseconds(pa.chunked_array([pa.array([3, None], pa.int32())])).tolist() == [3, 0]
    assert milliseconds(pa.chunked_array([pa.array(["x"])])).tolist() == [0]
