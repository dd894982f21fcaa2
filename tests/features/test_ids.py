import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from larix import features as fx
from larix.errors import ConfigError, DataError


def transform(feature, **columns):
    return fx.Sample(x=feature).transform(pa.RecordBatch.from_pydict(columns))


def test_integers_keep_their_value_and_strings_are_hashed():
    got = transform(fx.Id("a", dim=2), a=[0, -1, 2**63 - 1, -(2**63)]).ids["x"]
    assert got.values.tolist() == [0, -1, 2**63 - 1, -(2**63)]
    assert got.offsets is None
    got = transform(fx.Id("a", dim=2), a=["cat", "", "日本語" * 99]).ids["x"]
    assert [i % 2**64 for i in got.values.tolist()] == [
        xxhash.xxh3_64_intdigest(text.encode()) for text in ("cat", "", "日本語" * 99)
    ]


def test_booleans_are_ids_0_and_1():
    assert transform(fx.Id("a", dim=2), a=[True, False]).ids["x"].values.tolist() == [1, 0]


def test_a_null_id_is_no_id_and_is_counted():
    batch = transform(fx.Id("a", dim=2), a=[3, None, 4])
    assert batch.ids["x"].values.tolist() == [3, 4]
    assert batch.ids["x"].offsets.tolist() == [0, 1, 1, 2]
    assert batch.missing == {"x": 1}


def test_of_a_long_list_the_newest_are_kept_and_then_nulls_dropped():
    batch = transform(fx.Ids("a", dim=2, newest=3), a=[[1, 2, 3, None, 5], [], None, [None], [7]])
    assert batch.ids["x"].values.tolist() == [3, 5, 7]
    assert batch.ids["x"].offsets.tolist() == [0, 2, 2, 2, 2, 3]
    assert batch.ids["x"].weights is None
    assert batch.missing == {"x": 3}


def test_weights_go_with_their_ids():
    feature = fx.Ids("a", dim=2, weights="w", newest=2)
    batch = transform(feature, a=[[1, 2, 3], [None, 5], None, []], w=[[0.1, 0.2, 0.5], [None, 4], None, None])
    assert batch.ids["x"].values.tolist() == [2, 3, 5]
    assert batch.ids["x"].weights.tolist() == pytest.approx([0.2, 0.5, 4])
    assert batch.ids["x"].weights.dtype == "float32"


def test_weights_of_another_length_are_an_error_naming_both_columns_and_the_row():
    feature = fx.Ids("a", dim=2, weights="w", newest=1)
    with pytest.raises(DataError, match="columns 'a' and 'w' row 1 hold lists of 2 and 1 elements"):
        transform(feature, a=[[1], [1, 2]], w=[[1.0], [1.0]])
    with pytest.raises(DataError, match="columns 'a' and 'w' row 0 hold lists of 1 and 0 elements"):
        transform(feature, a=[[1]], w=pa.array([None], pa.list_(pa.float32())))


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), None, 1e300])
def test_a_weight_that_is_not_finite_is_an_error_naming_column_row_and_value(weight):
    with pytest.raises(
        DataError, match=r"column 'w' row 1 element 1 of its list is .*; a weight must be finite"
    ):
        transform(fx.Ids("a", dim=2, weights="w"), a=[[1], [1, 2]], w=[[1.0], [1.0, weight]])


def test_a_cross_is_one_id_a_pair_and_none_where_a_side_is_null():
    batch = transform(fx.Cross("a", "b", dim=2), a=["x", None, "x", "y"], b=[1, 1, None, 1])
    assert batch.ids["x"].offsets.tolist() == [0, 1, 1, 1, 2]
    assert batch.missing == {"x": 2}
    assert len(set(batch.ids["x"].values.tolist())) == 2


def test_the_sides_of_a_cross_are_told_apart():
    one = transform(fx.Cross("a", "b", dim=2), a=[1], b=[2]).ids["x"].values
    other = transform(fx.Cross("b", "a", dim=2), a=[1], b=[2]).ids["x"].values
    assert one[0] != other[0]


def test_pairs_of_small_ids_do_not_collide():
    ids = transform(
        fx.Cross("a", "b", dim=2),
        a=[a for a in range(-150, 150) for _ in range(300)],
        b=[b for _ in range(300) for b in range(-150, 150)],
    ).ids["x"]
    assert len(set(ids.values.tolist())) == 90_000


@given(
    st.integers(-(2**63), 2**63 - 1),
    st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, min_size=2, max_size=9),
)
def test_for_a_fixed_side_a_cross_is_one_to_one(fixed, others):
    for left, right in (("a", "b"), ("b", "a")):
        ids = transform(fx.Cross(left, right, dim=2), a=[fixed] * len(others), b=others).ids["x"]
        assert len(set(ids.values.tolist())) == len(others)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: fx.Id(""), "Id reads a column by its name"),
        (lambda: fx.Id(3), "Id reads a column by its name"),
        (lambda: fx.Id("a", dim=0), r"Id\('a'\) has dim 0; it must be a whole number between 1 and 4096"),
        (lambda: fx.Id("a", dim=5000), "has dim 5000"),
        (lambda: fx.Id("a", dim=True), "has dim True"),
        (lambda: fx.Id("a", dim=2, table=""), "has table ''"),
        (lambda: fx.Ids("a", dim=2, pool="max"), "pools by 'max'; use 'sum' or 'mean'"),
        (lambda: fx.Ids("a", dim=2, newest=0), "keeps newest=0"),
        (lambda: fx.Ids("a", dim=2, weights=1), "Ids reads a column by its name"),
        (lambda: fx.Cross("a", "", dim=2), "Cross reads a column by its name"),
    ],
)
def test_a_wrong_declaration_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        wrong()


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("0", 0),
        ("-1", -1),
        ("9223372036854775807", 2**63 - 1),
        ("18446744073709551615", -1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_a_number_stands_for_its_64_bits(word, number):
    assert fx.parse_id(word) == number


def test_other_text_stands_for_what_a_string_column_would_give():
    column = pa.record_batch({"tag": ["tango", "日本"]})
    ids = fx.Sample(tag=fx.Id("tag", dim=1)).transform(column).ids["tag"].values
    assert [fx.parse_id("tango"), fx.parse_id("日本")] == ids.tolist()


def test_a_number_beyond_64_bits_is_refused():
    with pytest.raises(ConfigError, match="more than 64 bits"):
        fx.parse_id("18446744073709551616")
