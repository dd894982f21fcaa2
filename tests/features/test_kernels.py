import math
import random

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from larix.features import kernels
from larix.features.kernels import Kind, Ranges


@pytest.mark.parametrize(
    "length", [*range(300), 511, 512, 1023, 1024, 1025, 1087, 1088, 1089, 2048, 2049, 9999]
)
def test_xxh3_agrees_with_the_published_implementation_at_every_length(length):
    text = random.Random(length).randbytes(length)
    assert kernels.xxh3(text) == xxhash.xxh3_64_intdigest(text)


@given(st.binary(max_size=400))
def test_xxh3_agrees_with_the_published_implementation_on_any_bytes(text):
    assert kernels.xxh3(text) == xxhash.xxh3_64_intdigest(text)


def log1p(values):
    """Of float64 ``values``, through the transform of a dense feature."""
    values = np.asarray(values, np.float64)
    out = np.empty((len(values), 1), np.float32)
    reads = kernels.Reads()
    view = kernels.flat(pa.array(values), Kind.f64)
    plain = {"mean": 0.0, "std": 1.0, "fill": "value", "fill_value": 0.0}
    number = reads.dense(view, None, out, 0, clip=(-math.inf, math.inf), log=True, **plain)
    reads.run(1)
    assert reads.status(number)[0] == 0
    return out[:, 0]


def test_log1p_is_correct_to_the_last_place_of_a_float32():
    generator = np.random.default_rng(0)
    values = np.concatenate(
        [
            generator.uniform(-1, 1, 20_000),
            generator.lognormal(0, 20, 50_000),
            -1 + np.logspace(-15, -1, 1000),
            np.logspace(-300, 300, 5000),
            -np.logspace(-300, -1, 1000),
            [0.0, 1.0, math.sqrt(2) - 1, math.sqrt(0.5) - 1, 2.0**53, 1e308],
        ]
    )
    exact = np.array([math.log1p(value) for value in values])
    with np.errstate(under="ignore"):
        expected = exact.astype(np.float32)
    off = log1p(values) != expected
    # Next to the middle between two floats either may be given: log1p itself is rounded before that.
    assert off.mean() < 1e-4
    np.testing.assert_array_almost_equal_nulp(log1p(values), expected, 1)


@given(st.lists(st.floats(-0.999, 1e30), min_size=1, max_size=40), st.integers(0, 40))
def test_log1p_of_a_value_does_not_depend_on_its_neighbours(values, position):
    value = values[position % len(values)]
    assert log1p([value]).tobytes() == log1p(values)[[position % len(values)]].tobytes()


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=5) | st.none(), max_size=12),
    st.integers(1, 4),
    st.booleans(),
)
def test_the_newest_of_every_row_are_found_whatever_the_slice(rows, newest, large):
    array = pa.array([[7], None, *rows, [8]], (pa.large_list if large else pa.list_)(pa.int64()))
    array = array.slice(2, len(rows))
    view = kernels.list_view(array, kernels.flat(array.values, Kind.i64))
    ranges, damaged = kernels.newest_ranges(view, newest)
    reads = kernels.Reads()
    ids, _ = reads.ids(view.child, ranges)
    reads.run(1)
    assert damaged == -1
    assert [ids[a:b].tolist() for a, b in zip(ranges.offsets, ranges.offsets[1:], strict=False)] == [
        (row or [])[-newest:] for row in rows
    ]


def test_known_elements_are_told_across_byte_borders_and_offsets():
    values = [None if i % 3 == 0 else i for i in range(50)]
    for start in range(20):
        array = pa.array(values, pa.int16()).slice(start)
        view = kernels.flat(array, Kind.i16)
        assert kernels.read_known(view, None).tolist() == [value is not None for value in values[start:]]


@pytest.mark.parametrize(("offsets", "row"), [([0, 9, 3], 0), ([0, 2, 1, 3], 1), ([-1, 2, 3], 0)])
def test_offsets_that_leave_the_child_are_found_not_followed(offsets, row):
    buffers = [None, pa.py_buffer(np.array(offsets, np.int32))]
    child = pa.array([1, 2, 3])
    # An array of as many rows, seen with other offsets: Arrow itself checks some of its own.
    array = pa.ListArray.from_arrays(pa.array([0] * len(offsets), pa.int32()), child)
    lists = kernels.native.Lists(4, buffers[1].address, 0, 0, 0, len(array), 3)
    _, damaged = kernels.newest_ranges(kernels.ListView(array, lists, kernels.flat(child, Kind.i64)), None)
    assert damaged == row


def test_strings_that_leave_their_bytes_are_found_not_followed():
    buffers = [None, pa.py_buffer(np.array([0, 2, 900, 3], np.int32)), pa.py_buffer(b"abc")]
    array = pa.Array.from_buffers(pa.string(), 3, buffers)
    reads = kernels.Reads()
    _, number = reads.ids(kernels.flat(array, Kind.text32), None)
    reads.run(1)
    assert reads.status(number)[:2] == [1, 1]


def test_an_output_shorter_than_what_is_read_is_refused():
    view = kernels.flat(pa.array([1, 2, 3]), Kind.i64)
    reads = kernels.native.Reads()
    with pytest.raises(ValueError, match="shorter than the column"):
        reads.ids(view.column, None, None, np.empty(2, np.int64))
    ranges = Ranges(np.array([0]), np.array([0, 3]))
    with pytest.raises(ValueError, match="shorter than the ranges"):
        reads.ids(view.column, *ranges, np.empty(2, np.int64))


def test_a_list_that_does_not_fit_its_places_is_not_padded():
    numbers = np.ones((3, 2), np.float32)
    assert kernels.padded(np.array([0, 1, 3]), numbers, 2)[0].tolist() == [[True, False], [True, True]]
    for wrong in ([0, 0, 3], [0, 3, 2, 3]):
        with pytest.raises(AssertionError, match="longer than its places"):
            kernels.padded(np.array(wrong), numbers, 2)
    for wrong in ([0, 1, 2], [1, 2, 3], [0, 4]):
        with pytest.raises(ValueError, match="offsets are of other elements"):
            kernels.padded(np.array(wrong), numbers, 2)
