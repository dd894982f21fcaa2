import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.errors import ConfigError, DataError
from larix.serve import columns


def told(value):
    """A name for a case, the same in every process."""
    return " ".join(str(value).split())[:40]


INT, REAL, TEXT, LIST = pa.int64(), pa.float64(), pa.string(), pa.list_(pa.int64())


@pytest.mark.parametrize("dtype", [*columns.PLAIN.values(), *map(pa.list_, columns.PLAIN.values())], ids=str)
def test_a_type_is_found_again_by_its_name(dtype):
    assert columns.type_of(columns.type_name(dtype)) == dtype


@pytest.mark.parametrize(
    "name", ["", "int63", "list<", "list<int64", "list<list<int64>>", "struct<a: int64>"]
)
def test_a_name_of_no_type_is_refused(name):
    with pytest.raises(ConfigError, match="there is no column type"):
        columns.type_of(name)


@pytest.mark.parametrize(
    ("values", "dtype", "row", "told"),
    [
        ([1, 1.5], INT, 1, "1.5"),  # Arrow would cut it off to 1
        ([True, 1], pa.bool_(), 1, "1"),
        (["7"], INT, 0, "'7'"),
        ([1, None, 2**63], INT, 2, str(2**63)),
        ([-1], pa.uint64(), 0, "-1"),
        ([300], pa.int8(), 0, "300"),
        ([float("nan")], INT, 0, "nan"),
        ([2**60 + 1], REAL, 0, str(2**60 + 1)),
        ([10**400], REAL, 0, "1000"),
        ([7], TEXT, 0, "7"),
        (["fine", "\ud800"], TEXT, 1, "ud800"),
        ([b"\xff"], TEXT, 0, "xff"),
        ([1], pa.bool_(), 0, "1"),
        ([[1], 2], LIST, 1, "2"),
        ([[1], [2, 2.5]], LIST, 1, "2.5"),
        ([[1], ["a"]], LIST, 1, "'a'"),
        ([{}], INT, 0, "{}"),
        ([[[1]]], LIST, 0, "1"),
        (np.array([1.0, 2.5]), INT, 1, "2.5"),
        (pa.array([1.0, 2.5]), INT, 1, "2.5"),
        (np.array([[1.5]]), LIST, 0, "1.5"),
    ],
    ids=told,
)
def test_what_does_not_fit_is_told_by_column_and_row(values, dtype, row, told):
    with pytest.raises(DataError) as caught:
        columns.column("c", values, dtype)
    assert f"column 'c' row {row} is" in str(caught.value)
    assert told in str(caught.value)
    assert f"expected {columns.type_name(dtype)}".split("<")[0] in str(caught.value)


@pytest.mark.parametrize("values", ["abc", 7, None, {"a": 1}, {1, 2}])
def test_what_is_no_list_is_no_column(values):
    with pytest.raises(DataError, match="expected a list of int64"):
        columns.column("c", values, INT)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2.0, None], INT),
        ([2**60 + 1, 1.0], INT),  # neither type holds both as they are, yet each is an integer
        ([1, 2.5, 2**53], REAL),
        ([True, 2, None], INT),
        ([True, 2.5], REAL),
        ([False], REAL),
        ([2**64 - 1, None], pa.uint64()),
        ([2**64 - 1, 2.0, True], pa.uint64()),
        ([[2**63], None, [1.0]], pa.list_(pa.uint64())),
        ([], LIST),
        ([None, [], [1, None]], LIST),
        (np.array([1, 2], np.uint8), INT),
        (np.array([b"a", b"b"], object), TEXT),
        (pa.array([1, 2], pa.int32()), REAL),
        ([(1, 2)], LIST),
        ([np.array([1, 2])], LIST),
    ],
    ids=told,
)
def test_values_that_are_equal_in_another_type_are_taken(values, dtype):
    array = columns.column("c", values, dtype)
    assert array.type == dtype
    for brought, taken in zip(values, array.to_pylist(), strict=True):
        match brought:
            case pa.Scalar():
                assert taken == brought.as_py()
            case bytes():
                assert taken == brought.decode()
            case list() | tuple() | np.ndarray():
                assert taken == list(brought)
            case _:
                assert taken == brought


def test_lists_of_one_length_come_as_one_array():
    assert columns.column("c", np.arange(6).reshape(3, 2), LIST).to_pylist() == [[0, 1], [2, 3], [4, 5]]
    assert columns.column("c", np.zeros((2, 0), np.int64), LIST).to_pylist() == [[], []]


def test_an_array_of_the_type_is_not_copied():
    values = np.arange(1000)
    array = columns.column("c", values, INT)
    assert array.buffers()[1].address == values.ctypes.data
    assert columns.column("c", array, INT) is array


@given(st.lists(st.none() | st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=4), max_size=6))
def test_lists_survive_json(values):
    assert columns.column("c", json.loads(json.dumps(values)), LIST).to_pylist() == values


@given(st.lists(st.none() | st.floats(width=32, allow_nan=False), max_size=6))
def test_float32_survives_json(values):
    array = columns.column("c", json.loads(json.dumps(values)), pa.float32())
    assert array.equals(pa.array(values, pa.float32()))


@given(
    st.fixed_dictionaries(
        {
            "a": st.integers(-(2**63), 2**63 - 1),
            "b": st.none() | st.integers(-(2**63), 2**63 - 1),
            "c": st.floats(allow_nan=False) | st.integers(-(2**53), 2**53),
            "d": st.none() | st.lists(st.integers(0, 9), max_size=3),
            "e": st.none() | st.text(max_size=3),
            "f": st.none() | st.booleans() | st.integers(-128, 127) | st.sampled_from([2.0, -0.0]),
            "g": st.integers(-128, 127),
        }
    )
)
def test_a_row_is_its_values_one_by_one(values):
    schema = pa.schema(
        [
            ("e", TEXT),
            ("a", INT),
            ("d", LIST),
            ("c", REAL),
            ("b", INT),
            ("gone", INT),
            ("f", INT),
            ("g", pa.int8()),
        ]
    )
    alone = [columns.one(name, values.get(name), schema.field(name).type) for name in schema.names]
    together = columns.row(values, columns.typed(schema))
    assert [each.type for each in together] == schema.types
    assert [each.to_pylist() for each in together] == [each.to_pylist() for each in alone]


TYPES = (pa.int8(), INT, pa.uint64(), pa.float32(), REAL, TEXT, pa.binary(), pa.bool_())
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.sampled_from([127, 128, 2**24 + 1, 2**53, 2**53 + 1, 2.0, 2.5, -0.0, 1e300, float("nan")])
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["\ud800", b"a", b"\xff", np.int64(3), np.float32(0.1), pa.array([1]), {"a": 1}])
)
LIKELY = {
    pa.int8(): st.integers(-128, 127),
    INT: st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats() | st.integers(-(2**24), 2**24),
    REAL: st.floats() | st.integers(-(2**53), 2**53),
    TEXT: st.text(max_size=3),
    pa.binary(): st.binary(max_size=3),
    pa.bool_(): st.booleans(),
}


@st.composite
def rows(draw, wild):
    """A schema and a row of it, some of whose values are anything if ``wild``."""
    dtypes = draw(st.lists(st.tuples(st.sampled_from(TYPES), st.booleans()), min_size=1, max_size=5))
    schema, values = [], {}
    for at, (dtype, several) in enumerate(dtypes):
        name = f"c{at}"
        fitting = st.none() | LIKELY[dtype]
        value = fitting | VALUES if wild else fitting
        schema.append((name, pa.list_(dtype) if several else dtype))
        if draw(st.integers(0, 5)):
            values[name] = (
                draw(value | st.lists(value, max_size=3) if wild else value)
                if not several
                else draw(
                    (value if wild else st.none()) | st.lists(value, max_size=3) | st.lists(value, max_size=3)
                )
            )
    return pa.schema(schema), values


def outcome(call):
    """The arrays' types and bytes, or what is told."""
    try:
        return [(each.type, str(each.to_pylist())) for each in call()]
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("wild", [False, True])
@settings(max_examples=300)
@given(data=st.data())
def test_a_row_in_one_go_is_the_row_that_is_looked_at_value_by_value(wild, data):
    schema, values = data.draw(rows(wild))
    taken = columns.Plain(schema)(values, row=True)
    if taken is None:
        assert wild
        return
    batch, nulls = taken
    batch.validate(full=True)
    assert batch.schema == schema
    wanted = columns.row(values, columns.typed(schema))
    assert outcome(lambda: batch.columns) == outcome(lambda: wanted)
    assert (
        nulls
        == {name: 1 for name, array in zip(schema.names, wanted, strict=True) if array.null_count}
        == {
            name: column.null_count
            for name, column in zip(schema.names, batch, strict=True)
            if column.null_count
        }
    )


@pytest.mark.parametrize("wild", [False, True])
@settings(max_examples=300)
@given(data=st.data())
def test_rows_in_one_go_are_the_columns_that_are_looked_at(wild, data):
    schema, size = pa.schema([]), data.draw(st.integers(0, 20))
    values = {}
    for at in range(data.draw(st.integers(1, 4))):
        dtype = data.draw(st.sampled_from(TYPES))
        value = st.none() | LIKELY[dtype] | VALUES if wild else st.none() | LIKELY[dtype]
        if data.draw(st.booleans()):
            dtype, value = pa.list_(dtype), st.none() | st.lists(value, max_size=3)
        schema = schema.append(pa.field(f"c{at}", dtype))
        if not at or data.draw(st.booleans()):
            longer = data.draw(st.integers(0, 1)) if wild else 0
            values[f"c{at}"] = data.draw(st.lists(value, min_size=size, max_size=size + longer))
    taken = columns.Plain(schema)(values, row=False)
    if taken is None:
        assert wild
        return
    batch, nulls = taken
    batch.validate(full=True)
    for name, column in zip(schema.names, batch, strict=True):
        given = values.get(name, [None] * len(values["c0"]))
        wanted = columns._looked_at(name, given, column.type)
        assert outcome(lambda: [column]) == outcome(lambda: [wanted])  # noqa: B023 - called at once
        assert nulls.get(name, 0) == wanted.null_count


@pytest.mark.parametrize(
    ("values", "row"),
    [
        ({}, False),  # how many rows?
        ({"a": [1, 2], "b": [0.5]}, False),
        ({"a": (1, 2)}, False),
        ({"a": 1}, False),
        ({"a": np.array([1])}, False),
        ({"a": [1]}, True),
        ({"a": "1"}, True),
        ({"a": 1.0}, True),
        ({"a": np.int64(1)}, True),
        ({"a": 2**63}, True),
        ({"b": 2**53 + 1}, True),
        ({"b": True}, True),
        ({"c": "\ud800"}, True),
        ({"c": b"a"}, True),
        ({"d": [1, [2]]}, True),
        ({"d": (1,)}, True),
        ({"f": 2**24 + 1}, True),
    ],
    ids=told,
)
def test_what_is_not_plain_is_left_to_who_explains_it(values, row):
    schema = pa.schema([("a", INT), ("b", REAL), ("c", TEXT), ("d", LIST), ("f", pa.float32())])
    assert columns.Plain(schema)(values, row=row) is None


def test_plain_columns_outlive_their_batch_and_the_next():
    plain = columns.Plain(pa.schema([("a", INT), ("t", pa.list_(TEXT))]))
    kept = [plain({"a": [at] * 99, "t": [[str(at)] * 5] * 99}, row=False)[0].column(1) for at in range(50)]
    assert [column[98].as_py() for column in kept] == [[str(at)] * 5 for at in range(50)]
    native = plain._columns
    for _ in range(3):  # whoever does not take what was made leaves it to the next call
        assert native.take({"a": [1], "t": [None]}, False) is not None


@pytest.mark.parametrize("wild", [False, True])
@settings(max_examples=300)
@given(data=st.data())
def test_a_column_in_one_go_is_the_column_that_is_looked_at(wild, data):
    dtype = data.draw(st.sampled_from(TYPES))
    value = st.none() | LIKELY[dtype] | VALUES if wild else st.none() | LIKELY[dtype]
    if data.draw(st.booleans()):
        dtype, value = (
            pa.list_(dtype),
            st.none() | st.lists(value, max_size=3) | (value if wild else st.none()),
        )
    values = data.draw(st.lists(value, max_size=4))
    found = outcome(lambda: [columns.column("c", values, dtype)])
    assert found == outcome(lambda: [columns._looked_at("c", values, dtype)])
    if not wild:
        assert isinstance(found, list)


def test_a_wrong_value_among_others_of_its_type_is_found():
    schema = pa.schema([("a", INT), ("b", INT), ("c", INT)])
    with pytest.raises(DataError, match=r"column 'b' is 2.5; expected int64"):
        columns.row({"a": 1, "b": 2.5, "c": 3}, columns.typed(schema))


def test_a_value_may_come_as_an_array_of_one_row():
    schema = pa.schema([("a", INT), ("tags", LIST), ("b", REAL)])
    tags = pa.array([[1, 2]], LIST)
    found = columns.row({"a": 1, "tags": tags, "b": pa.array([3])}, columns.typed(schema))
    assert found[1] is tags
    assert [each.to_pylist() for each in found] == [[1], [[1, 2]], [3.0]]
    with pytest.raises(DataError, match="column 'tags' has 2 rows; it is the request's and has 1"):
        columns.row({"tags": pa.array([[1], [2]], LIST)}, columns.typed(schema))
    with pytest.raises(DataError, match=r"column 'a' row 0 is 1\.5; expected int64"):
        columns.row({"a": pa.array([1.5])}, columns.typed(schema))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (pa.dictionary(pa.int32(), pa.string()), TEXT),
        (pa.large_string(), TEXT),
        (pa.string_view(), TEXT),
        (pa.large_binary(), pa.binary()),
        (pa.timestamp("ns", "UTC"), INT),
        (pa.float16(), pa.float32()),
        (pa.decimal128(5, 2), pa.float64()),
        (pa.int16(), pa.int16()),
        (pa.list_(pa.large_string(), 3), pa.list_(TEXT)),
        (pa.large_list(pa.timestamp("s")), LIST),
    ],
    ids=str,
)
def test_types_of_logs_become_plain_ones(given, wanted):
    assert columns.served_type("c", given) == wanted


@pytest.mark.parametrize("dtype", [pa.null(), pa.struct([("a", INT)]), pa.list_(LIST), pa.date32()], ids=str)
def test_types_that_a_request_cannot_bring_are_refused(dtype):
    with pytest.raises(ConfigError, match="column 'c'"):
        columns.served_type("c", dtype)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_are_told_in_whole_milliseconds_as_features_read_them(unit):
    ticks = [1_700_000_000, 1, 0, -1, None, 999_999]
    array = pa.array(ticks, pa.timestamp(unit, "UTC"))
    per_ms = {"s": 0.001, "ms": 1, "us": 1000, "ns": 1_000_000}[unit]
    wanted = [None if each is None else each * 1000 if unit == "s" else each // int(per_ms) for each in ticks]
    assert columns.as_served(array, INT).to_pylist() == wanted
    lists = pa.array([ticks[:2], None, ticks[2:]], pa.large_list(array.type))
    assert columns.as_served(lists, LIST).to_pylist() == [wanted[:2], None, wanted[2:]]


def test_other_columns_of_logs_keep_their_values():
    words = pa.array(["a", None, "b", "a"])
    assert columns.as_served(words.dictionary_encode(), TEXT).equals(words)
    fixed = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2))
    assert columns.as_served(fixed.slice(1), LIST).to_pylist() == [None, [3, 4]]
