import json

import pyarrow as pa
import pytest

from larix.data.log.avro_schema import reading, written
from larix.errors import ConfigError, DataError


def record(*types, **more):
    fields = [{"name": f"f{at}", "type": kind} for at, kind in enumerate(types)]
    return {"type": "record", "name": "r", "fields": fields, **more}


def read(schema):
    return reading(json.dumps(schema))


@pytest.mark.parametrize(
    ("kind", "comes_back"),
    [
        (pa.bool_(), pa.bool_()),
        (pa.int8(), pa.int32()),
        (pa.uint16(), pa.int32()),
        (pa.int32(), pa.int32()),
        (pa.uint32(), pa.int64()),
        (pa.int64(), pa.int64()),
        (pa.uint64(), pa.int64()),
        (pa.float16(), pa.float32()),
        (pa.float32(), pa.float32()),
        (pa.float64(), pa.float64()),
        (pa.large_string(), pa.string()),
        (pa.binary(3), pa.binary()),
        (pa.null(), pa.null()),
        (pa.date32(), pa.date32()),
        (pa.time32("ms"), pa.time32("ms")),
        (pa.time64("us"), pa.time64("us")),
        (pa.timestamp("s"), pa.timestamp("ms")),
        (pa.timestamp("ns"), pa.timestamp("ns")),
        (pa.timestamp("us", "Europe/Berlin"), pa.timestamp("us", "UTC")),
        (pa.large_list(pa.int8()), pa.list_(pa.int32())),
        (pa.list_(pa.string(), 2), pa.list_(pa.string())),
        (
            pa.struct([("a", pa.struct([("a", pa.bool_())]))]),
            pa.struct([("a", pa.struct([("a", pa.bool_())]))]),
        ),
    ],
)
def test_a_type_is_told_by_its_schema(kind, comes_back):
    assert read(written(pa.schema([("x", kind)]))).types == [comes_back]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([("two words", pa.int8())], r"the name 'two words' \(column 'two words'\).*rename it, or use Arrow"),
        ([("", pa.int8())], "does not allow the name ''"),
        ([("x", pa.struct([("1", pa.int8())]))], r"the name '1' \(column 'x'\)"),
        ([("x", pa.int8()), ("x", pa.int8())], "column 'x' is there 2 times.*use Arrow"),
        ([("x", pa.decimal128(3))], r"no type for column 'x', which is decimal128\(3, 0\); use Arrow"),
        ([("x", pa.list_(pa.duration("s")))], "no type for column 'x', which is duration"),
        ([("x", pa.map_(pa.string(), pa.int8()))], "no type for column 'x', which is map"),
    ],
)
def test_what_avro_has_no_type_or_name_for_is_a_mistake(fields, reason):
    with pytest.raises(ConfigError, match=reason):
        written(pa.schema([pa.field(*each) for each in fields]))


def test_names_are_looked_up_as_avro_does():
    enum = {"type": "enum", "name": "kind", "symbols": ["TAP"]}
    inner = {"type": "record", "name": "deep.inner", "fields": [{"name": "k", "type": enum}]}
    outer = record(enum, "kind", "top.kind", inner, "deep.kind", ["null", "deep.inner"], namespace="top")
    inside = pa.struct([("k", pa.string())])
    assert read(outer).types == [pa.string()] * 3 + [inside, pa.string(), inside]


def test_a_union_of_several_types_has_none_and_one_of_the_same_has_it():
    same = ["string", {"type": "enum", "name": "e", "symbols": ["A"]}]
    found = read(record(["int", "string"], {"type": "array", "items": ["int", "long"]}, same, ["null"]))
    assert found.types == [None, None, pa.string(), pa.null()]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("no JSON", "no Avro schema"),
        (json.dumps("int"), "Avro that is no record"),
        (json.dumps(record()), "Avro without a column"),
        (json.dumps(record("unheard of")), "no Avro schema"),
        (json.dumps(record([])), "no Avro schema"),
        (json.dumps(record({"type": "fixed", "name": "x", "size": -1})), "no Avro schema"),
        (json.dumps(record(["null", "r"])), "an Avro schema of 'r' that is within itself"),
        (json.dumps(record(*["int"] * 5000)), "of more than 4096 types"),
        ('{"type":"array","items":' * 400 + '"int"' + "}" * 400, "64 within each other"),
        ("[" * 100_000, "no Avro schema"),
        (json.dumps(record("null")), "values that take no bytes"),
        (json.dumps(record("int", {"type": "array", "items": "null"})), "values that take no bytes"),
        (json.dumps(record({"type": "fixed", "name": "x", "size": 0})), "values that take no bytes"),
        (
            json.dumps({"type": "record", "name": "r", "fields": [{"name": "a b", "type": "int"}]}),
            "no Avro schema",
        ),
    ],
)
def test_a_schema_that_cannot_be_read_or_could_grow_for_ever_is_told(schema, reason):
    with pytest.raises(DataError, match=reason):
        reading(schema)


def test_names_that_stand_for_ever_more_are_too_many():
    pairs = [
        {
            "type": "record",
            "name": f"r{n}",
            "fields": [{"name": f"f{k}", "type": f"r{n - 1}"} for k in range(2)],
        }
        for n in range(1, 40)
    ]
    first = {"type": "record", "name": "r0", "fields": [{"name": "x", "type": "int"}]}
    with pytest.raises(DataError, match="of more than 4096 types"):
        read(record(first, *pairs))


def test_values_that_one_byte_makes_are_counted():
    """A null costs nothing on the wire: hundred of them beside an int are hundred values of a byte."""
    assert read(record("double", "double")).density == 1
    assert read(record(*[["null", "int"]] * 8)).density == 2
    assert read(record("int", *["null"] * 100)).density == 128
