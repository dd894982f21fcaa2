import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix.data.join import reference, typed

INTS = st.integers(-(2**63), 2**63 - 1)
COLUMNS = st.one_of(
    st.tuples(st.lists(INTS | st.none()), st.just(pa.int64())),
    st.tuples(st.lists(st.integers(-128, 127) | st.none()), st.just(pa.int8())),
    st.tuples(st.lists(st.integers(0, 2**64 - 1) | st.none()), st.just(pa.uint64())),
    st.tuples(st.lists(st.floats() | st.integers(-9, 9).map(float) | st.none()), st.just(pa.float64())),
    st.tuples(st.lists(st.floats(width=32) | st.none()), st.just(pa.float32())),
    st.tuples(
        st.lists(
            INTS.map(str)
            | st.sampled_from(["", "1.5", "-0.25", "1e3", " 1", "1\n", "+1", "nan", "é"])
            | st.none()
        ),
        st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]),
    ),
    st.tuples(st.lists(st.booleans() | st.none()), st.just(pa.bool_())),
    st.tuples(st.lists(st.lists(INTS, max_size=2)), st.just(pa.list_(pa.int64()))),
    st.tuples(st.lists(st.none()), st.just(pa.null())),
)


@given(COLUMNS)
def test_columns_are_read_as_the_oracle_reads_values(column):
    values = pa.array(*column)
    plain = values.to_pylist()
    found, good = typed.integers(values)
    assert [x if ok else None for x, ok in zip(found.tolist(), good.tolist(), strict=True)] == [
        reference._typed(value, "int64") for value in plain
    ]
    texts, good = typed.texts(values)
    assert [x if ok else None for x, ok in zip(texts.to_pylist(), good.tolist(), strict=True)] == [
        reference._typed(value, "string") for value in plain
    ]
    assert typed.numbers(values).tolist() == [reference._number(value) for value in plain]
    assert typed.times(values).tolist() == [
        -1 if (at := reference._time(value)) is None else at for value in plain
    ]
    for wanted in (True, 1, "1.5", 300):
        assert typed.matches(values, wanted).tolist() == [reference._same(value, wanted) for value in plain]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_timestamps_are_milliseconds_since_the_epoch(unit, zone):
    kind = pa.timestamp(unit, zone)
    values = pa.array([None, 1_700_000_000], pa.int64()).cast(pa.timestamp("s", zone)).cast(kind)
    assert typed.times(values).tolist() == [-1, 1_700_000_000_000]


def test_strings_are_told_apart_by_their_hash():
    words = pa.array([str(n) for n in range(1000)] + ["0", None])
    hashes = typed.hashes(words)
    assert len(np.unique(hashes[:1000])) == 1000
    assert hashes[1000] == hashes[0]
    assert typed.hashes(words.slice(1000, 1)).tolist() == hashes[:1].tolist()
