import contextlib
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.data.log.payload import decode, encode
from larix.errors import ConfigError, DataError

ROWS = pa.record_batch(
    {
        "user": pa.array([1, None, -(2**63)]),
        "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
        "tags": [[1], [], None],
    }
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)


@pytest.mark.parametrize("kind", ["arrow", "avro", "json"])
def test_rows_come_back_and_headers_say_how_they_are_written(kind):
    raw, headers = encode(ROWS, kind)
    assert headers["larix-format"] == kind
    assert headers["larix-schema"] == encode(ROWS.slice(1), kind)[1]["larix-schema"]
    assert headers["larix-schema"] != encode(ROWS.select(["user"]), kind)[1]["larix-schema"]
    for otherwise in ("arrow", "json"):
        assert decode(raw, headers, otherwise).to_pydict() == ROWS.to_pydict()
    assert decode(raw, {}, kind).to_pydict() == ROWS.to_pydict()


def test_no_rows_are_rows_too():
    for kind in ("arrow", "avro", "json"):
        raw, headers = encode(ROWS.slice(0, 0), kind)
        found = decode(raw, headers, "arrow")
        assert found.num_rows == 0
        assert found.schema.types == [pa.int64(), pa.string(), pa.list_(pa.int64())]
    assert decode(b"[]", {}, "json").num_rows == 0


def test_json_of_others_may_be_an_object_a_list_or_lines():
    for raw in (b'{"a": 1, "b": "x"}', b'[{"a": 1, "b": "x"}]', b'{"a": 1}', b'{"a": 1}\n{"b": "x"}\n'):
        rows = decode(raw, {}, "json").to_pylist()
        assert rows[0]["a"] == 1
    assert rows == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({"k": VALUES}), min_size=1, max_size=6))
def test_values_of_several_kinds_become_text_and_stop_nothing(rows):
    found = decode(json.dumps(rows).encode(), {}, "json")
    assert len(found) == len(rows)
    for value, got in zip((row["k"] for row in rows), found["k"].to_pylist(), strict=True):
        if value is None:
            assert got is None
        elif isinstance(got, str) and not isinstance(value, str):
            assert json.loads(got) == value
        elif not isinstance(value, str):
            assert float(got) == pytest.approx(float(value))


TYPED = pa.record_batch(
    {
        "nulls": pa.nulls(2, pa.list_(pa.int8())),
        "whole": pa.array([1.0, 2.0]),
        "small": pa.array([1, None], pa.uint8()),
        "half": pa.array([0.5, 1e-3], pa.float16()),
        "inside": pa.array([{"a": [1]}, None], pa.struct([("a", pa.list_(pa.float32()))])),
    }
)


@pytest.mark.parametrize("kind", ["avro", "json"])
def test_types_that_a_payload_has_no_word_for_are_told_by_the_header(kind):
    raw, headers = encode(TYPED, kind)
    assert decode(raw, headers, "arrow").equals(TYPED)
    assert decode(raw, headers, "arrow").schema == TYPED.schema
    assert decode(raw, {}, kind).schema != TYPED.schema
    assert "larix-arrow-schema" not in encode(TYPED, "arrow")[1]


def test_whole_numbers_of_other_producers_become_what_the_header_tells():
    _, headers = encode(pa.record_batch({"x": [0.5], "gone": [1]}), "json")
    found = decode(b'[{"x": 1, "new": 2}, {"x": null}]', headers, "json")
    assert found.schema == pa.schema([("x", pa.float64()), ("new", pa.int64())])


def test_values_that_do_not_fit_what_the_header_tells_keep_their_own_types():
    _, headers = encode(TYPED, "json")
    raw = b'[{"nulls": "x", "whole": 9007199254740993, "small": 300, "half": 0.1, "inside": {"b": 1}}]'
    assert decode(raw, headers, "json").to_pylist() == json.loads(raw)
    _, headers = encode(TYPED, "avro")
    wide = pa.record_batch({"whole": [2**60], "small": [300], "half": [0.1]})
    found = decode(encode(wide, "avro")[0], headers, "json")
    assert found.equals(wide)
    assert found.schema == wide.schema


@pytest.mark.parametrize("damage", ["", "?", "AAAA", "é"])
def test_a_damaged_header_tells_nothing_and_loses_nothing(damage):
    raw, headers = encode(TYPED, "json")
    changed = "".join(chr(ord(each) ^ 1) for each in headers["larix-arrow-schema"][100:104])
    for said in (damage, headers["larix-arrow-schema"][:100] + changed + headers["larix-arrow-schema"][104:]):
        found = decode(raw, {**headers, "larix-arrow-schema": said}, "json")
        assert found.equals(decode(raw, {"larix-format": "json"}, "json"))
        assert found.schema.field("small").type == pa.int64()


def test_of_a_schema_too_large_for_a_header_it_holds_the_digest_alone():
    wide = pa.record_batch({f"column_{n}": pa.array([1], pa.int8()) for n in range(500)})
    for kind in ("avro", "json"):
        raw, headers = encode(wide, kind)
        assert set(headers) == {"larix-format", "larix-schema"}
        assert decode(raw, headers, "arrow").to_pydict() == wide.to_pydict()


def test_a_format_that_is_none_is_a_mistake():
    with pytest.raises(ConfigError, match="payloads are arrow, avro, json; 'xml' is none of them"):
        encode(ROWS, "xml")


def test_half_a_character_is_replaced():
    assert decode(b'[{"a": "\\ud800x"}]', {}, "json")["a"].to_pylist() == ["?x"]


@pytest.mark.parametrize(
    ("raw", "headers", "reason"),
    [
        (b"rubbish", {"larix-format": "arrow"}, "no Arrow stream"),
        (b"", {"larix-format": "arrow"}, "no Arrow stream"),
        (b"rubbish", {}, "no JSON"),
        (b"", {}, "no JSON"),
        (b'{"a": 1}\nrubbish', {}, "no JSON"),
        (b"\xff\xfe", {}, "no JSON"),
        (b"[" * 100_000, {}, "no JSON"),
        (b"7", {}, "JSON that is no object"),
        (b'[{"a": 1}, 2]', {}, "JSON that is no object"),
        (b"[{}]", {}, "JSON without a column"),
        (b"x", {"larix-format": "avro"}, "no Avro file"),
        (b"x", {"larix-format": "xml"}, "format 'xml' is unknown"),
    ],
)
def test_what_holds_no_rows_is_told(raw, headers, reason):
    with pytest.raises(DataError, match=f"^{reason}$"):
        decode(raw, headers, "json")


def test_a_flipped_bit_in_an_arrow_stream_gives_rows_or_an_error_and_no_crash():
    raw, headers = encode(ROWS, "arrow")
    for bit in range(0, 8 * len(raw), 3):
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(DataError):
            assert decode(bytes(damaged), headers, "arrow").num_columns


@pytest.mark.parametrize("values", [[float("nan")], [b"\x00"], [{"a": float("inf")}]])
def test_what_json_has_no_word_for_is_a_mistake(values):
    with pytest.raises(ConfigError, match=r"JSON has no word for a value of \['x'\].*use Arrow"):
        encode(pa.record_batch({"x": values}), "json")


def test_what_json_has_no_date_for_is_a_mistake():
    with pytest.raises(ConfigError, match="use Arrow"):
        encode(pa.record_batch({"x": pa.array([2**31 - 1], pa.date32())}), "json")


@pytest.mark.parametrize(
    "rows",
    [
        [{f"k{at}": 1} for at in range(6000)],  # 36 million values of 80 KB
        [{"a": [{f"k{at}": 1} for at in range(6000)]}],
        [{"a": {f"k{at}": 1}} for at in range(6000)],
        [{name: [{f"k{at}": 1} for at in range(2500)]} for name in "abcdef"],
    ],
)
def test_a_small_message_of_json_does_not_fill_the_memory(rows):
    raw = json.dumps(rows).encode()
    assert len(raw) < 250_000
    before = pa.total_allocated_bytes()
    with pytest.raises(DataError, match="JSON of more than 33,554,432 values"):
        decode(raw, {}, "json")
    assert pa.total_allocated_bytes() - before < 1 << 20


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ('{"a":', "}")])
def test_json_too_deep_to_be_written_anywhere_is_told(open_, close):
    raw = '{"x":' + open_ * 100 + "1" + close * 100 + "}"
    with pytest.raises(DataError, match="values of more than 60 levels"):
        decode(raw.encode(), {}, "json")
    raw = '{"x":' + open_ * 59 + "1" + close * 59 + "}"
    found = decode(raw.encode(), {}, "json")
    assert decode(*encode(found, "arrow"), "arrow").equals(found)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.list_(pa.int64(), 1 << 26), None),
        (pa.list_(pa.list_(pa.int8(), 1 << 13), 1 << 13), None),
        (pa.binary(1 << 30), None),
        (pa.list_(pa.list_(pa.int64(), 1 << 25)), [None, None]),
        (pa.struct([("a", pa.list_(pa.int64(), 1 << 26))]), {}),
        (pa.list_(pa.struct([("a", pa.list_(pa.int64(), 1 << 24))])), [{}, {}, {}]),
    ],
)
def test_a_header_does_not_make_much_of_a_null(kind, value):
    _, headers = encode(pa.record_batch([pa.array([], kind)], names=["x"]), "json")
    before = pa.total_allocated_bytes()
    found = decode(json.dumps([{"x": value}]).encode(), headers, "json")
    assert pa.total_allocated_bytes() - before < 1 << 20
    assert found.to_pylist() == [{"x": value}]


def test_lists_of_fixed_size_keep_their_type_though_some_are_null():
    kind = pa.list_(pa.float32(), 128)
    rows = pa.record_batch({"x": pa.array([None, *([0.5] * 128,) * 3000], kind)})
    assert decode(*encode(rows, "json"), "json").schema == rows.schema


def test_rows_of_nulls_take_no_bytes_and_are_bounded_all_the_same():
    raw, headers = encode(pa.record_batch({"x": pa.nulls(1 << 26)}), "arrow")
    assert len(raw) < 1000
    with pytest.raises(DataError, match="an Arrow stream of more than 33,554,432 rows"):
        decode(raw, headers, "arrow")
