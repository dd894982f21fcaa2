from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from larix.data.join.carried import Carried, conform, wider


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


SOME = {
    pa.bool_(): True,
    pa.int8(): -7,
    pa.int64(): 2**40,
    pa.uint8(): 7,
    pa.uint64(): 2**40,
    pa.float16(): 0.5,
    pa.float32(): 0.5,
    pa.float64(): 0.1,
    pa.decimal128(5, 2): Decimal("1.25"),
    pa.decimal128(38, 10): Decimal("1.25"),
    pa.decimal256(60, 4): Decimal("1.25"),
    pa.string(): "x",
    pa.large_string(): "x",
    pa.binary(): b"x",
    pa.binary(1): b"x",
    pa.date32(): date(2022, 5, 3),
    pa.time32("ms"): time(1),
    pa.timestamp("s"): datetime(2022, 5, 3),
    pa.timestamp("us"): datetime(2022, 5, 3),
    pa.timestamp("ms", "UTC"): datetime(2022, 5, 3, tzinfo=UTC),
    pa.duration("s"): timedelta(1),
    pa.list_(pa.int32()): [1],
    pa.list_(pa.float64()): [0.5],
    pa.list_(pa.string()): ["x"],
    pa.list_(pa.decimal128(5, 2)): [Decimal("1.25")],
    pa.large_list(pa.int64()): [1],
    pa.list_(pa.int64(), 1): [1],
    pa.struct([("a", pa.int64())]): {"a": 1},
    pa.struct([("a", pa.float64()), ("b", pa.int8())]): {"a": 0.5, "b": 1},
    pa.map_(pa.string(), pa.int64()): [("a", 1)],
}


@pytest.mark.parametrize("one", SOME, ids=str)
def test_no_value_is_lost_in_a_type_that_is_wider(one):
    for other in SOME:
        wide = wider(one, other)
        for kind in (one, other) if wide is not None else ():
            whole = conform(pa.array([SOME[kind], None], kind), wide)
            assert whole.is_valid().to_pylist() == [True, False], (one, other, wide)
