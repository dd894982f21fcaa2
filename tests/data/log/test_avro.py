import contextlib
import datetime
import io
import string
import sys
import tracemalloc
import zlib
from decimal import Decimal

import fastavro
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from larix.data.log import avro
from larix.data.log.payload import decode, encode
from larix.errors import ConfigError, DataError

NAMES = st.text(string.ascii_letters + "_", min_size=1, max_size=5)
LEAVES = st.sampled_from(
    [
        *(
            pa.bool_(),
            pa.null(),
            pa.float32(),
            pa.float64(),
            pa.string(),
            pa.large_string(),
            pa.binary(),
            pa.binary(2),
        ),
        *(pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()),
        *(pa.date32(), pa.time32("ms"), pa.time64("us")),
        *(
            pa.timestamp(unit, zone)
            for unit in ("s", "ms", "us", "ns")
            for zone in (None, "UTC", "Asia/Tokyo")
        ),
    ]
)
TYPES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        st.dictionaries(NAMES, inner, min_size=1, max_size=3).map(lambda each: pa.struct(list(each.items()))),
    ),
    max_leaves=5,
)


def values(kind):
    t = pa.types
    if t.is_null(kind):
        return st.none()
    if t.is_struct(kind):
        found = st.fixed_dictionaries({field.name: values(field.type) for field in kind})
    elif t.is_list(kind) or t.is_large_list(kind):
        found = st.lists(values(kind.value_type), max_size=3)
    elif t.is_boolean(kind):
        found = st.booleans()
    elif t.is_floating(kind):
        found = st.floats(width=kind.bit_width, allow_nan=False)  # of which no two are equal
    elif t.is_fixed_size_binary(kind):
        found = st.binary(min_size=2, max_size=2)
    elif t.is_binary(kind):
        found = st.binary()
    elif t.is_string(kind) or t.is_large_string(kind):
        found = st.text()
    elif t.is_temporal(kind):
        most = 86_399_999 if t.is_time(kind) else 2**31 - 1 if t.is_date(kind) else 2**53
        found = st.integers(0 if t.is_time(kind) else -most, most)
    else:
        most = min(2**kind.bit_width, 2**63) if t.is_unsigned_integer(kind) else 2 ** (kind.bit_width - 1)
        found = st.integers(0 if t.is_unsigned_integer(kind) else -most, most - 1)
    return st.none() | found


@st.composite
def batches(draw):
    kinds = draw(st.dictionaries(NAMES, TYPES, min_size=1, max_size=4))
    rows = draw(st.integers(0, 5))
    columns = {
        name: pa.array([draw(values(kind)) for _ in range(rows)], kind) for name, kind in kinds.items()
    }
    return pa.record_batch(columns)


@settings(deadline=None, max_examples=150)
@given(batches())
def test_a_batch_comes_back_with_the_header_and_with_the_file_alone(events):
    raw, headers = encode(events, "avro")
    back = decode(raw, headers, "json")
    back.validate(full=True)
    if "timestamp[s" not in str(events.schema) or "null" not in str(
        events.schema
    ):  # of both: as the file says
        assert back.schema == events.schema
        assert back.equals(events)
    bare = decode(raw, {}, "avro")
    assert bare.schema.names == events.schema.names
    assert len(bare) == len(events)
    assert encode(bare, "avro")[0].split(b"\x00", 1)[0] == raw.split(b"\x00", 1)[0]  # the same schema


@settings(deadline=None, max_examples=60)
@given(batches())
def test_any_avro_tool_reads_it(events):
    assume(not any(word in str(events.schema) for word in ("date", "time")))  # Python's begin and end earlier
    raw, _ = encode(events, "avro")
    rows = list(fastavro.reader(io.BytesIO(raw)))
    assert [list(row) for row in rows] == [events.schema.names] * len(events)
    for name, column in zip(events.schema.names, events.columns, strict=True):
        assert [row[name] is None for row in rows] == column.is_null().to_pylist()


def decoded(raw):
    """As the file says."""
    return avro.decode(raw, {})


def foreign(schema, rows, **options):
    sink = io.BytesIO()
    fastavro.writer(sink, fastavro.parse_schema(schema), rows, **options)
    return sink.getvalue()


def record(**fields):
    return {
        "type": "record",
        "name": "r",
        "fields": [{"name": name, "type": kind} for name, kind in fields.items()],
    }


def test_files_of_others_become_columns_as_their_values_are():
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
    schema = record(
        kind={"type": "enum", "name": "kind", "symbols": ["TAP", "HOLD"]},
        counts={"type": "map", "values": "long"},
        hash={"type": "fixed", "name": "hash", "size": 2},
        price=decimal,
        number=["int", "double"],
        mixed=["null", "string", "long"],
        either=["bytes", "string"],
        at={"type": "long", "logicalType": "timestamp-millis"},
        id={"type": "string", "logicalType": "uuid"},
    )
    row = {
        "kind": "TAP",
        "counts": {"a": 1, "b": 2},
        "hash": b"\x00\xff",
        "price": Decimal("-12.34"),
        "number": 1,
        "mixed": "x",
        "either": b"\xff",
        "at": 1_700_000_000_123,
        "id": "6f8a",
    }
    other = {
        **row,
        "kind": "HOLD",
        "counts": {},
        "price": Decimal("0.5"),
        "number": 2.5,
        "mixed": 7,
        "either": "é",
    }
    found = decoded(foreign(schema, [row, other, {**row, "mixed": None}]))
    assert found.to_pylist()[:2] == [
        {**row, "counts": [("a", 1), ("b", 2)], "number": 1.0, "at": moment(row["at"])},
        {**other, "counts": [], "mixed": "7", "either": "é".encode(), "at": moment(row["at"])},
    ]
    assert found["mixed"].to_pylist() == ["x", "7", None]
    assert [field.type for field in found.schema] == [
        pa.string(),
        pa.map_(pa.string(), pa.int64()),
        pa.binary(),
        pa.decimal128(6, 2),
        pa.float64(),
        pa.string(),
        pa.binary(),
        pa.timestamp("ms", "UTC"),
        pa.string(),
    ]


def moment(ms):
    return datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC).replace(microsecond=ms % 1000 * 1000)


def test_a_decimal_wider_than_its_schema_says_is_not_lost():
    schema = record(price={"type": "bytes", "logicalType": "decimal", "precision": 3})
    block = zigzag(2) + b"\x7f\xff" + zigzag(40) + bytes(40)
    assert decoded(container(schema, 2, block))["price"].to_pylist() == ["32767", "\0" * 40]


def zigzag(number):
    sink = io.BytesIO()
    fastavro.schemaless_writer(sink, "long", number)
    return sink.getvalue()


def container(schema, count, block, codec="null"):
    """A file of one block, packed by whoever calls."""
    head = foreign(schema, [], codec="null", sync_marker=b"s" * 16)
    head = head.replace(b"\x08null", zigzag(len(codec)) + codec.encode())
    return head + zigzag(count) + zigzag(len(block)) + block + b"s" * 16


def packed(block, codec):
    if codec == "zstandard":
        return pa.compress(block, "zstd", asbytes=True)
    return pa.compress(block, "snappy", asbytes=True) + zlib.crc32(block).to_bytes(4, "big")


LONGS = record(n="long")
BLOCK = b"".join(map(zigzag, range(1000)))


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz", "snappy", "zstandard"])
def test_packed_blocks_are_read_and_cut_ones_are_told(codec):
    if codec in ("snappy", "zstandard"):
        raw = container(LONGS, 1000, packed(BLOCK, codec), codec)
    else:
        raw = foreign(LONGS, [{"n": n} for n in range(1000)], codec=codec, sync_interval=300)
    assert decoded(raw)["n"].to_pylist() == list(range(1000))
    for cut in range(len(raw) - 1, 100, -37):
        try:
            found = decoded(raw[:cut])["n"].to_pylist()  # it may be cut between blocks
        except DataError:
            continue
        assert found == list(range(len(found)))


@pytest.mark.parametrize("codec", ["deflate", "bzip2", "xz", "snappy", "zstandard"])
def test_what_unpacks_to_more_than_the_bound_is_told_and_not_made(codec):
    huge = bytes(100 << 20)
    if codec == "deflate":
        packing = zlib.compressobj(9, zlib.DEFLATED, -15)
        small = packing.compress(huge) + packing.flush()
    elif codec in ("bzip2", "xz"):
        import bz2
        import lzma

        small = (bz2 if codec == "bzip2" else lzma).compress(huge)
    else:
        small = packed(huge, codec)
    raw = container(LONGS, len(huge), small, codec)
    del huge
    tracemalloc.start()
    with pytest.raises(DataError, match="an Avro file of more than 33,554,432 values"):
        decoded(raw)
    assert tracemalloc.get_traced_memory()[1] < 70 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no Avro file"),
        (b"rubbish", "no Avro file"),
        (b"Obj\x01", "no Avro file"),
        (container(LONGS, 2, zigzag(1)), "a damaged Avro file"),
        (container(LONGS, 1, zigzag(1) + zigzag(2)), "a damaged Avro file"),
        (container(LONGS, -1, zigzag(1)), "a damaged Avro file"),
        (container(LONGS, 1 << 60, zigzag(1)), "a damaged Avro file"),
        (container(LONGS, 1, zigzag(1))[:-1] + b"?", "a damaged Avro file"),
        (container(LONGS, 1, b"?", "lz4"), "Avro packed by 'lz4'"),
        (container(LONGS, 1, b"????????", "snappy"), "a damaged Avro file"),
        (container(LONGS, 1, b"", "snappy"), "a damaged Avro file"),
        (container(record(s="string"), 1, b"\x02\xff"), "a damaged Avro file"),
        (container(record(s="null"), 1 << 30, b""), "an Avro schema of values that take no bytes"),
    ],
)
def test_what_is_no_file_is_told(raw, reason):
    with pytest.raises(DataError, match=f"^{reason}$"):
        decoded(raw)


RICH = foreign(
    record(
        a=["null", "string", "long"],
        m={"type": "map", "values": ["null", "bytes"]},
        l={"type": "array", "items": "double"},
    ),
    [{"a": "x", "m": {"k": b"v"}, "l": [1.5]}, {"a": 3, "m": {}, "l": []}] * 3,
    codec="deflate",
)
PLAIN = foreign(
    record(a=["null", "string", "long"], e={"type": "enum", "name": "e", "symbols": ["A", "B"]}, f="float"),
    [{"a": "x", "e": "A", "f": 1.0}, {"a": None, "e": "B", "f": 2.0}] * 3,
)


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from([RICH, PLAIN]),
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=4)), max_size=4),
)
def test_a_damaged_file_gives_rows_or_an_error_of_ours(raw, splices):
    for at, new in splices:
        at %= len(raw)
        raw = raw[:at] + new + raw[at + 1 :]
    with contextlib.suppress(DataError):
        assert decoded(raw).num_columns


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200))
def test_random_bytes_are_no_file_nor_are_random_blocks_a_crash(noise):
    with pytest.raises(DataError):
        decoded(noise)
    with contextlib.suppress(DataError):
        decoded(container(record(a=["null", "string"], l={"type": "array", "items": "int"}), 3, noise))


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array([1, 2**63], pa.uint64()), "a value of column 'x': .*9223372036854775808.*; use Arrow"),
        (pa.array([2**62], pa.timestamp("s")), "a value of column 'x': .*4611686018427387904.*; use Arrow"),
        (pa.array([b"\xff"]).view(pa.string()), "a value of column 'x': .*; use Arrow"),
    ],
)
def test_a_value_that_avro_has_no_word_for_is_a_mistake(column, reason):
    with pytest.raises(ConfigError, match=reason):
        encode(pa.record_batch({"x": column}), "avro")


def test_an_append_that_would_not_be_read_is_refused(monkeypatch):
    monkeypatch.setattr(avro, "MOST", 1000)
    with pytest.raises(
        ConfigError, match=r"an append of 1,\d\d\d bytes is too large for Avro: the most is 500 .*; append"
    ):
        encode(pa.record_batch({"x": [0] * 400, "y": [0] * 400}), "avro")


def test_of_a_union_of_many_records_each_row_has_the_fields_of_all_and_that_is_bounded():
    kinds = [
        {"type": "record", "name": f"q{at}", "fields": [{"name": f"f{at}", "type": "int"}]}
        for at in range(900)
    ]
    schema = fastavro.parse_schema({"type": "record", "name": "r", "fields": [{"name": "u", "type": kinds}]})

    def file(rows):
        sink = io.BytesIO()
        fastavro.writer(sink, schema, [{"u": (f"q{at % 900}", {f"f{at % 900}": 1})} for at in range(rows)])
        return sink.getvalue()

    assert decode(file(1000), {}, "avro").column(0).type.num_fields == 900
    raw = file(50_000)
    assert len(raw) < 350_000
    with pytest.raises(DataError, match="more than 33,554,432 values"):
        decode(raw, {}, "avro")


@pytest.mark.parametrize("levels", range(26, 34))
def test_maps_as_deep_as_are_read_can_be_written(levels):
    kind, value = "long", 1
    for _ in range(levels):
        kind, value = {"type": "map", "values": kind}, {"a": value}
    schema = {"type": "record", "name": "r", "fields": [{"name": "m", "type": kind}]}
    sink = io.BytesIO()
    fastavro.writer(sink, fastavro.parse_schema(schema), [{"m": value}])
    if levels > 31:
        with pytest.raises(DataError, match="within each other"):
            decode(sink.getvalue(), {}, "avro")
    else:
        found = decode(sink.getvalue(), {}, "avro")
        assert decode(*encode(found, "arrow"), "arrow").equals(found)


def test_without_the_library_the_extra_is_named(monkeypatch):
    avro.library.cache_clear()
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(ConfigError, match=r"pip install 'larix\[kafka\]'"):
        encode(pa.record_batch({"x": [1]}), "avro")
    with pytest.raises(ConfigError, match=r"pip install 'larix\[kafka\]'"):
        decode(PLAIN, {}, "avro")
