import pyarrow as pa
import pytest

from larix.data.join.carried import Carried, wider


def batch(**columns):
    return pa.record_batch(columns)


def test_columns_are_added_as_they_come_and_null_where_they_are_missing():
    carried = Carried({"key": pa.int64()})
    first, _ = carried.fit(batch(key=[1], a=["x"]))
    second, _ = carried.fit(batch(b=[[1, 2]], key=[2]))
    assert carried.out(first).to_pylist() == [{"key": 1, "a": "x", "b": None}]
    assert carried.out(second).to_pylist() == [{"key": 2, "a": None, "b": [1, 2]}]


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.null(), pa.list_(pa.string()), pa.list_(pa.string())),
        (pa.list_(pa.int64()), pa.list_(pa.float64()), pa.list_(pa.float64())),
        (pa.uint64(), pa.int64(), None),
        (pa.string(), pa.int64(), None),
        (pa.bool_(), pa.float64(), None),
    ],
)
def test_a_type_gives_way_to_one_that_holds_it_too(one, other, both):
    assert wider(one, other) == wider(other, one) == both


def test_rows_from_before_a_type_gave_way_come_out_with_the_wider_one():
    carried = Carried({})
    early, _ = carried.fit(batch(a=pa.array([1, None], pa.int32())))
    late, bad = carried.fit(batch(a=[0.5]))
    assert not bad
    assert carried.out(early).column("a").equals(pa.array([1.0, None]))
    assert carried.out(late).schema == carried.out(early).schema


def test_values_that_do_not_fit_are_null_and_counted_and_others_are_cast():
    carried = Carried({})
    carried.fit(batch(a=[1], b=["x"]))
    fit, bad = carried.fit(batch(a=["7", "many", None], b=[1, 2, 3]))
    assert fit.to_pydict() == {"a": [7, None, None], "b": ["1", "2", "3"]}
    assert bad == {"a": 1}


def test_of_two_columns_of_one_name_the_first_is_taken():
    twice = pa.RecordBatch.from_arrays([pa.array([1]), pa.array(["x"])], names=["a", "a"])
    fit, _ = Carried({}).fit(twice)
    assert fit.to_pydict() == {"a": [1]}
