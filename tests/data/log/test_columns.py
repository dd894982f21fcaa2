import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.data.log.columns import Column, project
from larix.errors import ConfigError


def test_columns_are_chosen_in_the_order_asked_for_and_others_passed_over():
    events = pa.record_batch({"new": ["x", "y"], "b": [1, 2], "a": [0.5, None]})
    rows, rejected = project(events, [Column("a", pa.float64()), Column("b", pa.int64())])
    assert rows.schema.names == ["a", "b"]
    assert rows.to_pydict() == {"a": [0.5, None], "b": [1, 2]}
    assert not rejected


def test_a_missing_column_is_filled_and_so_is_a_null():
    events = pa.record_batch({"a": pa.array([1, None])})
    columns = [
        Column("a", pa.int64(), default=7),
        Column("b", pa.string(), default="none"),
        Column("c", pa.float32(), default=None),
        Column("tags", pa.list_(pa.int64()), default=[1, 2]),
    ]
    rows, rejected = project(events, columns)
    assert rows.to_pydict() == {
        "a": [1, 7],
        "b": ["none"] * 2,
        "c": [None] * 2,
        "tags": [[1, 2]] * 2,
    }
    assert rows.schema.types == [column.type for column in columns]
    assert not rejected


def test_a_column_is_what_json_says():
    said = {
        "a": "int64",
        "b": "list<list<string>>",
        "c": "timestamp[ms]",
        "d": {"type": "float64", "default": 0},
        "e": {"type": "string", "default": None},
        "f": {"type": "list<int64>", "default": [1]},
    }
    assert [Column.from_json(*each) for each in said.items()] == [
        Column("a", pa.int64()),
        Column("b", pa.list_(pa.list_(pa.string()))),
        Column("c", pa.timestamp("ms")),
        Column("d", pa.float64(), default=0),
        Column("e", pa.string(), default=None),
        Column("f", pa.list_(pa.int64()), default=[1]),
    ]


@pytest.mark.parametrize(
    "said", ["whole", "list<whole>", "", 5, None, ["int64"], {}, {"type": 5}, {"type": "int64", "defalt": 0}]
)
def test_json_that_is_no_column_is_told(said):
    with pytest.raises(ConfigError, match="column 'a' is"):
        Column.from_json("a", said)


def test_a_default_that_is_none_of_the_type_is_told():
    with pytest.raises(ConfigError, match="default of column 'a' is 'x'"):
        Column.from_json("a", {"type": "int64", "default": "x"})


def test_nulls_stay_where_there_is_no_default():
    rows, rejected = project(
        pa.record_batch({"key": pa.array([None, 3, None], pa.int64())}), [Column("key", pa.int64())]
    )
    assert rows["key"].to_pylist() == [None, 3, None]
    assert not rejected


def test_nulls_of_a_list_are_filled():
    events = pa.record_batch({"tags": pa.array([[1], None, []], pa.list_(pa.int64()))})
    rows, _ = project(events, [Column("tags", pa.list_(pa.int64()), default=[])])
    assert rows["tags"].to_pylist() == [[1], [], []]


def test_a_column_of_nulls_alone_becomes_any_type():
    rows, rejected = project(pa.record_batch({"a": pa.nulls(2)}), [Column("a", pa.list_(pa.string()))])
    assert rows["a"].to_pylist() == [None, None]
    assert not rejected


def test_new_values_of_an_enumeration_come_through():
    kinds = pa.array(["click", "superlike", None]).dictionary_encode()
    for wanted in (pa.string(), pa.dictionary(pa.int32(), pa.string())):
        rows, rejected = project(pa.record_batch({"kind": kinds}), [Column("kind", wanted)])
        assert rows["kind"].to_pylist() == ["click", "superlike", None]
        assert rows["kind"].type == wanted
        assert not rejected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.integers(-300, 300).map(str), st.sampled_from(["x", "", "1.5"])), max_size=40
    )
)
def test_rows_that_cannot_be_cast_are_rejected_and_no_others(words):
    events = pa.record_batch({"n": pa.array(words, pa.string()), "place": np.arange(len(words))})
    rows, rejected = project(events, [Column("place", pa.int32()), Column("n", pa.int8())])

    def fits(word):
        return word is None or (word.lstrip("-").isdigit() and -128 <= int(word) <= 127)

    assert rows["place"].to_pylist() == [place for place, word in enumerate(words) if fits(word)]
    assert rows["n"].to_pylist() == [None if word is None else int(word) for word in words if fits(word)]
    bad = [place for place, word in enumerate(words) if not fits(word)]
    assert [place for some in rejected for place in some.rows] == bad
    assert all(some.reason == "column 'n' is string, wanted int8" and some.detail for some in rejected)


def test_a_row_is_rejected_once_for_its_first_fault():
    events = pa.record_batch({"a": ["1", "x", "x"], "b": ["y", "y", "2"]})
    rows, rejected = project(events, [Column("a", pa.int64()), Column("b", pa.int64())])
    assert len(rows) == 0
    assert [(some.rows.tolist(), some.reason[:10]) for some in rejected] == [
        ([1, 2], "column 'a'"),
        ([0], "column 'b'"),
    ]


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ({"b": [1, 2]}, "no column 'a'"),
        ({"a": [[1], [2]]}, "column 'a' is list<item: int64>, wanted int64"),
        ({"a": [{"x": 1}, {"x": 2}]}, "column 'a' is struct<x: int64>, wanted int64"),
        ({"a": pa.array([2**63, 2**64 - 1], pa.uint64())}, "column 'a' is uint64, wanted int64"),
        ({"a": [b"\xff", b"x"]}, "column 'a' is binary, wanted int64"),
        ({"a": [float("nan"), 1.5]}, "column 'a' is double, wanted int64"),
    ],
)
def test_what_no_row_can_give_rejects_them_all(events, reason):
    rows, rejected = project(pa.record_batch(events), [Column("a", pa.int64())])
    assert len(rows) == 0
    (some,) = rejected
    assert (some.reason, some.rows.tolist()) == (reason, [0, 1])


def test_a_column_that_is_there_twice_is_no_column():
    events = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    _, rejected = project(events, [Column("a", pa.int64())])
    assert rejected[0].reason == "column 'a' is there 2 times"


def test_one_bad_row_among_many_costs_few_casts():
    words = np.arange(100_000).astype(str).astype(object)
    words[777] = "poison"
    events = pa.record_batch({"n": pa.array(words, pa.string())})
    rows, rejected = project(events, [Column("n", pa.int64())])
    assert len(rows) == 99_999
    assert rejected[0].rows.tolist() == [777]


def test_a_default_that_is_not_of_the_type_is_a_mistake():
    with pytest.raises(ConfigError, match="the default of column 'a' is 'x', which is no int64"):
        Column("a", pa.int64(), default="x")
