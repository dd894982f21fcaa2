"""What rows are rounded to: the numpy twin against its promises, the native one against it, bit for bit."""

from typing import get_args

import numpy as np
import pytest
import replicas
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from larix.embedding import Replica, TableSpec
from larix.embedding.quantize import Format, decode, encode, row_bytes

PRECISIONS = get_args(Format)
LARGEST = np.finfo(np.float32).max
matrices = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 9), st.integers(1, 19)), elements=st.floats(width=32)
)


def through_the_core(precision, weights):
    spec = TableSpec(name="a", dim=weights.shape[1])
    replica = Replica([spec], precision=precision)
    ids = np.arange(len(weights))
    replica.apply(replicas.changes([spec], 1, 1, {"a": (ids, weights)}))
    return replica.lookup("a", ids)


def there_and_back(precision, weights):
    return decode(precision, encode(precision, weights), weights.shape[1])


def bits(array):
    return array.view(np.uint32).tolist()


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PRECISIONS), matrices)
def test_the_native_core_keeps_and_reads_the_same_bits(precision, weights):
    assert bits(through_the_core(precision, weights)) == bits(there_and_back(precision, weights))


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", np.float16), ("bf16", None)])
def test_every_number_of_sixteen_bits_is_kept_as_it_is(precision, dtype):
    halves = np.arange(1 << 16, dtype=np.uint16)
    if dtype is None:
        values = (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)
    else:
        values = halves.view(dtype).astype(np.float32)
    values = values.reshape(256, 256)
    numbers = ~np.isnan(values)
    for read in (there_and_back(precision, values), through_the_core(precision, values)):
        assert np.array_equal(read.view(np.uint32)[numbers], values.view(np.uint32)[numbers])
        assert np.isnan(read[~numbers]).all()


@pytest.mark.parametrize(("precision", "largest"), [("bf16", 0x7F7F0000), ("fp16", 0x477FE000)])
def test_a_finite_weight_stays_finite_and_an_infinity_stays_one(precision, largest):
    weights = np.array([[LARGEST, -LARGEST, np.inf, -np.inf, np.nan]], np.float32)
    for read in (there_and_back(precision, weights), through_the_core(precision, weights)):
        assert bits(read)[0][:2] == [largest, largest | 0x80000000]
        assert read[0, 2:4].tolist() == [np.inf, -np.inf]
        assert np.isnan(read[0, 4])


@settings(deadline=None)
@given(st.sampled_from(["bf16", "fp16"]), matrices)
def test_of_the_two_neighbours_the_nearer_is_taken(precision, weights):
    step, least, edge = (2.0**-8, 2.0**-134, 3.38e38) if precision == "bf16" else (2.0**-11, 2.0**-25, 65504)
    exact = np.clip(np.nan_to_num(weights), -edge, edge).astype(np.float64)
    error = np.abs(there_and_back(precision, exact.astype(np.float32)) - exact)
    assert (error <= np.maximum(step * np.abs(exact), least)).all()  # half a unit in the last place


def test_a_tie_goes_to_the_even_neighbour():
    for precision, unit in (("bf16", 2.0**-7), ("fp16", 2.0**-10)):
        ties = np.array([[1 + unit / 2, 1 + 3 * unit / 2]], np.float32)
        assert there_and_back(precision, ties).tolist() == [[1.0, 1 + 2 * unit]]


@settings(deadline=None, max_examples=300)
@given(matrices)
def test_int8_is_off_by_half_a_scale_at_most(weights):
    weights = np.nan_to_num(weights)
    exact = weights.astype(np.float64)
    scale = np.maximum(np.abs(exact).max(axis=1, keepdims=True) / 127, 2.0**-126)
    error = np.abs(there_and_back("int8", weights) - exact)
    assert (error <= scale / 2 * (1 + 2.0**-14)).all()


def test_int8_uses_the_whole_half_scale_so_that_the_bound_is_no_looser_than_said():
    weights = np.array([[127.0, 0.49, 0.51, 3.5, -2.5]], np.float32)
    assert there_and_back("int8", weights).tolist() == [[127.0, 0.0, 1.0, 4.0, -2.0]]


def test_int8_keeps_zero_rows_and_zeros_in_rows_exactly():
    weights = np.array([[0.0, 0.0, -0.0], [1e-45, 0.0, 1e-45], [3.0, 0.0, LARGEST]], np.float32)
    read = through_the_core("int8", weights)
    assert not read[0].any()
    assert not read[:, 1].any()
    assert np.isfinite(read).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_int8_row_with_no_number_in_it_reads_nan_throughout_and_its_neighbours_do_not(bad):
    weights = np.array([[1.0, bad, 2.0], [1.0, 2.0, 127.0]], np.float32)
    for read in (there_and_back("int8", weights), through_the_core("int8", weights)):
        assert np.isnan(read[0]).all()
        assert read[1].tolist() == [1.0, 2.0, 127.0]


@pytest.mark.parametrize("dim", [1, 2, 3, 15, 16])
def test_a_row_takes_the_bytes_that_are_said(dim):
    weights = np.ones((2, dim), np.float32)
    sizes = [encode(precision, weights).shape[1] for precision in PRECISIONS]
    assert sizes == [row_bytes(precision, dim) for precision in PRECISIONS]
    padded = -(-dim // 4) * 4
    assert sizes == [4 * dim, 2 * (dim + dim % 2), 2 * (dim + dim % 2), 4 + padded]
