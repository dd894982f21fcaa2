from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from larix import features as fx
from larix.errors import ConfigError, DataError
from larix.features.records import ID, Records


def transform(feature, **columns):
    return fx.Sample(x=feature).transform(pa.RecordBatch.from_pydict(columns))


def test_a_table_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"not a Table; a Table has to_batches"):
        fx.Sample(x=fx.Id("a", dim=2)).transform(pa.table({"a": [1]}))


def test_a_missing_column_is_named_with_those_there_are():
    with pytest.raises(DataError, match="column 'a' is missing; the columns are b, c"):
        transform(fx.Id("a", dim=2), c=[1], b=[1])
    with pytest.raises(DataError, match="the columns are none"):
        fx.Sample(x=fx.Id("a", dim=2)).transform(pa.RecordBatch.from_pydict({}))


def test_a_column_that_is_there_twice_is_refused():
    batch = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])
    with pytest.raises(DataError, match="column 'a' is there 2 times"):
        fx.Sample(x=fx.Id("a", dim=2)).transform(batch)


@pytest.mark.parametrize(
    ("feature", "values", "message"),
    [
        (fx.Id("a", dim=2), [1.5], "column 'a' is double; expected integers, booleans or strings"),
        (fx.Id("a", dim=2), [[1]], "column 'a' is list<item: int64>; expected integers, booleans or strings"),
        (fx.Ids("a", dim=2), [1], "column 'a' is int64; expected lists of integers, booleans or strings"),
        (fx.Ids("a", dim=2), [[1.5]], "column 'a' is list<item: double>; expected lists of integers"),
        (fx.Ids("a", dim=2), [[[1]]], "expected lists of integers, booleans or strings"),
        (
            fx.Bucket("a", edges=[1], dim=2),
            ["1"],
            "column 'a' is string; expected integers, floats, decimals or booleans",
        ),
        (fx.Dense("a"), ["1"], "column 'a' is string; expected integers, floats, decimals or booleans"),
        (fx.Dense("a"), [{"b": 1}], "expected integers, floats, decimals or booleans"),
        (fx.Hour("a", dim=2), [1.5], "column 'a' is double; expected integers of milliseconds"),
        (fx.Hour("a", dim=2), ["now"], "column 'a' is string; expected integers of milliseconds"),
        (
            fx.Hour("a", dim=2),
            pa.array([1], pa.uint64()),
            "column 'a' is uint64; expected integers of milliseconds",
        ),
        (fx.Cross("a", "a", dim=2), [1.5], "column 'a' is double; expected integers"),
    ],
)
def test_a_column_of_a_wrong_type_is_named_with_both_types(feature, values, message):
    with pytest.raises(DataError, match=message):
        transform(feature, a=values)


@pytest.mark.parametrize(
    "dtype",
    [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()],
)
def test_every_integer_type_reads_as_an_id_with_its_extremes(dtype):
    info = np.iinfo(dtype.to_pandas_dtype())
    array = pa.array([info.min, 5, info.max], dtype)
    expected = np.array([info.min, 5, info.max], info.dtype).astype(np.int64).tolist()
    assert transform(fx.Id("a", dim=2), a=array).ids["x"].values.tolist() == expected


@pytest.mark.parametrize("dtype", [pa.decimal128(12, 2), pa.decimal256(40, 2)])
def test_a_decimal_reads_as_the_number_it_is_as_a_double(dtype):
    prices = pa.array([Decimal("19.99"), None, Decimal("-0.01")], dtype)
    assert transform(fx.Dense("a", missing=7), a=prices).dense[:, 0].tolist() == [
        np.float32(19.99),
        7,
        np.float32(-0.01),
    ]
    assert transform(fx.Bucket("a", edges=[0, 10], dim=2), a=prices).ids["x"].values.tolist() == [
        3,
        0,
        1,
    ]  # 0: not known
    lists = pa.array([[Decimal("1.50")], [Decimal("2.50"), Decimal("3.50")]], pa.list_(dtype))
    ids = pa.array([[1], [2, 3]])
    weighted = transform(fx.Ids("a", weights="b", dim=2), a=ids, b=lists).ids["x"]
    assert weighted.weights.tolist() == [1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    ("feature", "values", "way_out"),
    [
        (fx.Id("a", dim=2), [{"os": "x", "age": 3}], r"write its fields \(os, age\) as columns of their own"),
        (fx.Id("a", dim=2), [["x"]], "Ids and Sequence read lists"),
        (fx.Ids("a", dim=2), ["x"], "Id, Dense and others read one value a row"),
        (fx.Id("a", dim=2), [1.5], "a Bucket makes ids of such numbers"),
        (fx.Ids("a", dim=2), [[1.5]], "a Bucket makes ids of such numbers"),
        (fx.Id("a", dim=2), [Decimal("1.50")], "a Bucket makes ids of such numbers"),
        (
            fx.Dense("a"),
            pa.array(["x"]).dictionary_encode(),
            "an Id reads text, or cast the column to numbers",
        ),
    ],
)
def test_a_column_of_a_wrong_type_is_told_with_what_would_read_it(feature, values, way_out):
    with pytest.raises(DataError, match=f"column 'a' is .*; expected .*; {way_out}"):
        transform(feature, a=values)


def test_uint64_keeps_its_bits_as_int64():
    array = pa.array([2**64 - 1, 2**63], pa.uint64())
    assert transform(fx.Id("a", dim=2), a=array).ids["x"].values.tolist() == [-1, -(2**63)]


@pytest.mark.parametrize(
    "dtype", [pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.uint64(), pa.bool_()]
)
def test_every_numeric_type_reads_as_a_number(dtype):
    values = [False, True, None, True] if pa.types.is_boolean(dtype) else [0, 3, None, 9]
    values = [np.float16(v) if v is not None and pa.types.is_float16(dtype) else v for v in values]
    array = pa.array([None, *values], dtype).slice(1)
    got = transform(fx.Dense("a", missing=7), a=array).dense[:, 0]
    assert got.tolist() == [7.0 if value is None else float(value) for value in values]


def encodings(values):
    plain = pa.array(values, pa.string())
    return [
        plain,
        plain.cast(pa.large_string()),
        plain.cast(pa.binary()),
        plain.cast(pa.large_binary()),
        plain.cast(pa.string_view()),
        plain.dictionary_encode(),
        plain.cast(pa.large_string()).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2, 0], pa.uint16()), pa.array(["a", "", None])),
    ]


def test_a_string_has_one_id_whatever_its_encoding():
    values = ["a", "", None, None, "a"]
    first, *others = (transform(fx.Id("a", dim=2), a=array) for array in encodings(values))
    for other in others:
        assert other.ids["x"].values.tolist() == first.ids["x"].values.tolist()
        assert other.ids["x"].offsets.tolist() == [0, 1, 2, 2, 2, 3]
        assert other.missing == {"x": 2}


def test_lists_of_every_layout_read_alike():
    rows = [[1, 2], [3, None], [5, 6]]
    arrays = [pa.array(rows, kind(pa.int32())) for kind in (pa.list_, pa.large_list)]
    arrays.append(pa.array(rows, pa.list_(pa.int32(), 2)))
    encoded = pa.array([1, 2, 3, None, 5, 6]).dictionary_encode()
    arrays.append(pa.ListArray.from_arrays([0, 2, 4, 6], encoded))
    arrays.append(pa.FixedSizeListArray.from_arrays(encoded, 2))
    for array in arrays:
        got = transform(fx.Ids("a", dim=2), a=array.slice(1)).ids["x"]
        assert got.values.tolist() == [3, 5, 6]
        assert got.offsets.tolist() == [0, 1, 3]


def test_of_an_encoded_list_column_only_the_rows_of_the_slice_are_decoded():
    words = pa.array(["a", "b", None, "c"] * 1000).dictionary_encode()
    lists = pa.ListArray.from_arrays(pa.array(range(0, 4001, 4), pa.int32()), words)
    batch = pa.RecordBatch.from_pydict({"a": lists}).slice(500, 3)
    assert Records(batch).lists("a", ID).child.length == 12


def test_columns_that_arrow_could_not_type_are_all_null():
    assert transform(fx.Id("a", dim=2), a=[None, None]).missing == {"x": 2}
    assert transform(fx.Dense("a", missing=4), a=[None]).dense.tolist() == [[4.0]]
    assert transform(fx.Bucket("a", edges=[0], dim=2), a=[None]).ids["x"].values.tolist() == [0]
    assert transform(fx.Hour("a", dim=2), a=[None]).missing == {"x": 1}
    for values in ([None, None], [[], []], [[], None]):
        got = transform(fx.Ids("a", dim=2), a=values).ids["x"]
        assert got.offsets.tolist() == [0, 0, 0]
    assert transform(fx.Ids("a", dim=2), a=[[None], [None, None]]).missing == {"x": 3}


@pytest.mark.parametrize(
    "feature", [fx.Id("a", dim=2), fx.Dense("a"), fx.Hour("a", dim=2), fx.Cross("a", "a", dim=2)]
)
def test_a_batch_of_no_rows_is_fine(feature):
    batch = transform(feature, a=pa.array([], pa.int64()))
    assert batch.size == 0


def test_empty_columns_of_strings_and_lists_are_fine():
    assert transform(fx.Id("a", dim=2), a=pa.array([], pa.string())).ids["x"].size == 0
    assert transform(fx.Ids("a", dim=2), a=pa.array([], pa.list_(pa.string()))).ids["x"].size == 0


def test_a_damaged_record_batch_is_an_error_not_a_crash():
    # Arrow's own cheap check looks at the first and the last offset only.
    offsets = pa.py_buffer(np.array([0, 900, 3], np.int32))
    strings = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"abc")])
    lists = pa.Array.from_buffers(pa.list_(pa.int64()), 2, [None, offsets], children=[pa.array([1, 2, 3])])
    with pytest.raises(DataError, match="column 'a': string 0 lies outside its column"):
        transform(fx.Id("a", dim=2), a=strings)
    with pytest.raises(DataError, match="column 'a': string 0 lies outside its column"):
        transform(fx.Cross("b", "a", dim=2), a=strings, b=[1, 2])
    with pytest.raises(DataError, match="column 'a' row 0: the list lies outside its column"):
        transform(fx.Ids("a", dim=2), a=lists)
