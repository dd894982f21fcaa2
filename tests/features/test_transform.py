import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix import batch as fx_batch
from larix import features as fx
from larix.errors import ConfigError, DataError

from . import oracle

SAMPLE = fx.Sample(
    user=fx.Id("user", dim=4),
    flag=fx.Id("flag", dim=2),
    word=fx.Id("word", dim=2, table="words"),
    words=fx.Ids("words", dim=2, table="words", newest=3),
    weighted=fx.Ids("many", dim=2, pool="sum", weights="weights", newest=2),
    pair=fx.Ids("pair", dim=2),
    hour=fx.Hour("time", dim=2, utc_offset=-3.5),
    day=fx.Weekday("clock", dim=2, utc_offset=8),
    bucket=fx.Bucket("number", edges=(-1.5, 0, 2, 7), dim=2),
    cross=fx.Cross("word", "user", dim=2),
    log=fx.Dense(
        "number", transform="log1p", clip=(0, None), standardise=True, missing="mean", mean=1.0, std=0.7
    ),
    plain=fx.Dense("count", missing=2.5),
    history=fx.Sequence(
        user="hist_user",
        word=fx.Id("hist_word", table="words"),
        play=fx.Dense("hist_play", transform="log1p", clip=(-0.5, 100), missing=3.0),
        age=fx.LogAge("hist_time"),
        newest=3,
    ),
    tasks=(fx.Binary("click"), fx.Seconds("watch")),
    group="key",
    scene="scene",
    time="time",
    weight="weight",
)

integers = st.integers(-(2**63), 2**63 - 1)
times = st.integers(-(10**12), 4 * 10**12)
texts = st.one_of(st.sampled_from(["", "a", "ß", "tag"]), st.text(max_size=300))
numbers = st.floats(-1e6, 1e6) | st.just(float("nan"))


def rare_none(values):
    return st.one_of(values, values, values, st.none())


@st.composite
def events(draw, most=5):
    length = draw(st.integers(0, most))
    kinds = {"hist_user": integers, "hist_word": texts, "hist_play": rare_none(numbers), "hist_time": times}
    return {name: draw(st.lists(kind, min_size=length, max_size=length)) for name, kind in kinds.items()}


@st.composite
def weighted(draw):
    ids = draw(st.lists(rare_none(integers), max_size=4))
    weights = [draw(st.floats(0, 100, width=32)) for _ in ids]
    if not ids and draw(st.booleans()):
        return {"many": None, "weights": draw(st.sampled_from([None, []]))}
    return {"many": ids, "weights": weights}


rows = st.lists(
    st.tuples(
        st.fixed_dictionaries(
            {
                "user": rare_none(integers),
                "flag": rare_none(st.booleans()),
                "word": rare_none(texts),
                "words": rare_none(st.lists(rare_none(texts), max_size=5)),
                "pair": rare_none(st.lists(rare_none(st.integers(-128, 127)), min_size=2, max_size=2)),
                "time": times,
                "clock": rare_none(times),
                "number": rare_none(numbers),
                "count": rare_none(st.integers(0, 2**16 - 1)),
                "click": rare_none(st.integers(0, 1)),
                "watch": rare_none(st.integers(0, 10**6)),
                "key": texts,
                "scene": st.integers(0, 255),
                "weight": st.floats(0, 10),
            }
        ),
        events(),
        weighted(),
    ).map(lambda parts: parts[0] | parts[1] | parts[2]),
    max_size=6,
)

words = st.sampled_from(
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)


@st.composite
def schemas(draw):
    """One of the many Arrow types for each column."""

    def one(*types):
        return draw(st.sampled_from(types))

    ticks = one(pa.int64(), pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.timestamp("ns"))
    listed = one(pa.list_, pa.large_list)
    word = one(pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()))
    return pa.schema(
        {
            "user": pa.int64(),
            "flag": pa.bool_(),
            "word": draw(words),
            "words": listed(word),
            "pair": one(pa.list_(pa.int8(), 2), pa.list_(pa.int16())),
            "time": ticks,
            "clock": one(pa.int64(), pa.timestamp("ms")),
            "number": pa.float64(),
            "count": one(pa.uint16(), pa.int32(), pa.uint64(), pa.float32(), pa.float64()),
            "click": one(pa.bool_(), pa.int8(), pa.float32(), pa.float64()),
            "watch": one(pa.int32(), pa.uint64(), pa.float64()),
            "key": draw(words),
            "scene": one(pa.uint8(), pa.int16(), pa.dictionary(pa.int16(), pa.int64())),
            "weight": pa.float64(),
            "hist_user": listed(pa.int64()),
            "hist_word": listed(word),
            "hist_play": listed(pa.float64()),
            "hist_time": listed(ticks),
            "many": one(pa.list_, pa.large_list)(pa.int64()),
            "weights": one(pa.list_, pa.large_list)(pa.float32()),
        }
    )


PER_MS = {"ms": 1, "us": 1000, "ns": 1_000_000}


def column(values, dtype):
    """``values`` as Arrow holds them; times are given as milliseconds."""
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        offsets = np.cumsum([0, *(len(value or ()) for value in values)])
        flat = column([v for value in values for v in value or ()], dtype.value_type)
        kind = pa.ListArray if pa.types.is_list(dtype) else pa.LargeListArray
        mask = pa.array([value is None for value in values], pa.bool_())
        offsets = pa.array(offsets, pa.int32() if kind is pa.ListArray else pa.int64())
        return kind.from_arrays(offsets, flat, mask=mask)
    if pa.types.is_timestamp(dtype):
        return pa.array([None if v is None else v * PER_MS[dtype.unit] for v in values], pa.int64()).cast(
            dtype
        )
    if pa.types.is_boolean(dtype):
        values = [None if v is None else bool(v) for v in values]
    return pa.array(values, dtype)


def record_batch(rows, schema):
    return pa.RecordBatch.from_arrays(
        [column([row[name] for row in rows], schema.field(name).type) for name in schema.names], schema=schema
    )


def assert_same(a, b):
    """Two batches are equal bit for bit (a Jagged of one id a sample may or may not have offsets)."""

    def same(x, y):
        assert (x is None) == (y is None)
        if x is not None:
            assert x.dtype == y.dtype
            assert x.shape == y.shape
            assert x.tobytes() == y.tobytes()

    def offsets(jagged):
        return np.arange(jagged.size + 1) if jagged.offsets is None else jagged.offsets

    assert a.size == b.size
    assert a.missing == b.missing
    assert list(a.ids) == list(b.ids)
    for name in a.ids:
        same(a.ids[name].values, b.ids[name].values)
        same(a.ids[name].weights, b.ids[name].weights)
        same(offsets(a.ids[name]), offsets(b.ids[name]))
    for name in a.sequences:
        x, y = a.sequences[name], b.sequences[name]
        same(x.offsets, y.offsets)
        same(x.dense, y.dense)
        for element in x.ids:
            same(x.ids[element], y.ids[element])
    for key in ("dense", "labels", "weight", "group", "scene", "time"):
        same(getattr(a, key), getattr(b, key))


def concatenated(parts):
    """The batch of all rows of ``parts``."""

    def joined(arrays):
        return None if arrays[0] is None else np.concatenate(arrays)

    def offsets(all_offsets):
        return np.concatenate([[0], np.cumsum(np.concatenate([np.diff(o) for o in all_offsets]))])

    def jagged(items):
        own = [np.arange(j.size + 1) if j.offsets is None else j.offsets for j in items]
        values, weights = joined([j.values for j in items]), joined([j.weights for j in items])
        return fx_batch.Jagged(values, offsets(own), weights)

    def history(items):
        ids = {e: joined([h.ids[e] for h in items]) for e in items[0].ids}
        return fx_batch.History(offsets([h.offsets for h in items]), ids, joined([h.dense for h in items]))

    keys = ("dense", "labels", "weight", "group", "scene", "time")
    return fx_batch.Batch(
        size=sum(part.size for part in parts),
        ids={name: jagged([part.ids[name] for part in parts]) for name in parts[0].ids},
        sequences={name: history([part.sequences[name] for part in parts]) for name in parts[0].sequences},
        missing={name: sum(part.missing[name] for part in parts) for name in parts[0].missing},
        **{key: joined([getattr(part, key) for part in parts]) for key in keys},
    )


@settings(max_examples=150, deadline=None)
@given(rows, schemas())
def test_a_transform_is_what_the_row_by_row_oracle_says(rows, schema):
    batch = SAMPLE.transform(record_batch(rows, schema))
    oracle.check(SAMPLE, rows, batch)
    assert batch.time.tolist() == [row["time"] for row in rows]
    np.testing.assert_array_equal(batch.weight, np.array([row["weight"] for row in rows], np.float32))


@settings(max_examples=100, deadline=None)
@given(rows, schemas(), st.data())
def test_a_slice_of_a_record_batch_is_read_as_those_rows_alone(rows, schema, data):
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    whole = record_batch(rows, schema)
    oracle.check(SAMPLE, rows[start:stop], SAMPLE.transform(whole.slice(start, stop - start)))
    # A slice of a slice has offsets in its children too.
    oracle.check(SAMPLE, rows[start:stop], SAMPLE.transform(whole.slice(start).slice(0, stop - start)))


@settings(max_examples=100, deadline=None)
@given(rows.filter(len), schemas())
def test_rows_together_and_one_by_one_give_the_same_bytes(rows, schema):
    whole = record_batch(rows, schema)
    alone = [SAMPLE.transform(whole.slice(index, 1)) for index in range(len(rows))]
    assert_same(SAMPLE.transform(whole), concatenated(alone))


@settings(max_examples=50, deadline=None)
@given(rows, schemas())
def test_serving_gives_the_features_of_training_bit_for_bit(rows, schema):
    batch = record_batch(rows, schema)
    without = batch.select([name for name in batch.schema.names if name not in SAMPLE.label_columns])
    trained, served = SAMPLE.transform(batch), fx.transform(SAMPLE, without, labels=False)
    assert served.labels is served.weight is served.group is served.time is None
    trained = fx_batch.Batch(
        **{key: getattr(trained, key) for key in ("size", "ids", "sequences", "dense", "scene", "missing")}
    )
    assert_same(trained, served)


def big(rows):
    """Enough elements for threads to be used."""
    random = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(random.integers(0, 60, rows))]).astype(np.int32)
    total = int(offsets[-1])

    def lists(values):
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))

    return pa.RecordBatch.from_pydict(
        {
            "video": random.integers(-(2**63), 2**63 - 1, rows),
            "x": random.random(rows),
            "time": 1_650_000_000_000 + random.integers(0, 10**9, rows),
            "hist_video": lists(random.integers(-(2**63), 2**63 - 1, total)),
            "hist_play": lists(random.random(total) * 1e5),
            "hist_time": lists(1_650_000_000_000 - random.integers(0, 10**10, total)),
        }
    )


def test_any_number_of_threads_gives_the_same_bytes():
    sample = fx.Sample(
        video=fx.Id("video", dim=2),
        x=fx.Dense("x"),
        y=fx.Dense("x", transform="log1p"),
        history=fx.Sequence(
            video="hist_video",
            play=fx.Dense("hist_play", transform="log1p"),
            age=fx.LogAge("hist_time"),
            newest=50,
        ),
        time="time",
    )
    batch = big(4000)
    one = sample.transform(batch)
    for threads in (2, 3, 16):
        assert_same(one, sample.transform(batch, threads=threads))


def test_threads_below_one_are_refused():
    with pytest.raises(ConfigError, match="threads is 0"):
        fx.Sample(a=fx.Id("a", dim=2)).transform(pa.RecordBatch.from_pydict({"a": [1]}), threads=0)


def test_a_sample_that_is_not_fitted_says_to_call_fit():
    bucket, dense = fx.Bucket("b", quantiles=4, dim=2), fx.Dense("c", standardise=True)
    sample = fx.Sample(a=fx.Id("a", dim=2), b=bucket, c=dense)
    with pytest.raises(ConfigError, match=r"'b', 'c' must be fitted .* sample\.fit"):
        sample.transform(pa.RecordBatch.from_pydict({"a": [1], "b": [1], "c": [1]}))


def test_columns_the_sample_does_not_name_are_ignored():
    sample = fx.Sample(a=fx.Id("a", dim=2))
    plain = pa.RecordBatch.from_pydict({"a": [1, 2]})
    more = pa.RecordBatch.from_pydict({"z": [{"deep": [1]}, None], "a": [1, 2]})
    assert_same(sample.transform(plain), sample.transform(more))


def test_the_result_owns_its_memory_and_the_input_is_not_changed():
    sample = fx.Sample(a=fx.Id("a", dim=2), b=fx.Ids("b", dim=2))
    batch = pa.RecordBatch.from_pydict({"a": [1, 2], "b": [[1, 2], [3]]})
    result = sample.transform(batch)
    result.ids["a"].values[:] = -1
    result.ids["b"].values[:] = -1
    assert batch.to_pydict() == {"a": [1, 2], "b": [[1, 2], [3]]}


def test_serving_still_needs_the_columns_that_features_read():
    sample = fx.Sample(a=fx.Id("a", dim=2), tasks=[fx.Binary("a_label")], group="a")
    with pytest.raises(DataError, match="column 'a' is missing; the columns are b"):
        sample.transform(pa.RecordBatch.from_pydict({"b": [1]}), labels=False)
