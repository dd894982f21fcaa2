import struct

import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient import utils as triton

from larix.errors import DataError
from larix.serve.oip import Tensor, from_raw, from_values
from larix.serve.oip.tensor import NUMBERS as KNOWN
from larix.serve.oip.tensor import datatype_of

NUMBERS = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
ARRAYS = st.sampled_from(sorted(NUMBERS)).flatmap(
    lambda name: st.tuples(
        st.just(name),
        hnp.arrays(NUMBERS[name], hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)),
    )
)


def test_the_datatypes_are_the_protocols():
    assert {name: each for name, each in KNOWN.items() if name != "BF16"} == NUMBERS
    for name, dtype in NUMBERS.items():
        found = datatype_of(pa.from_numpy_dtype(dtype))
        assert found == datatype_of(pa.list_(pa.from_numpy_dtype(dtype))) == name
        assert found == triton.np_to_triton_dtype(np.dtype(dtype))
    for text in (pa.string(), pa.binary(), pa.large_string(), pa.list_(pa.string())):
        assert datatype_of(text) == "BYTES"


@settings(deadline=None)
@given(ARRAYS)
def test_numbers_come_through_their_binary_form_bit_for_bit(case):
    name, array = case
    tensor = from_raw("x", name, array.shape, array.tobytes())
    assert tensor.values.tobytes() == array.tobytes()
    assert bytes(tensor.raw()) == array.tobytes()
    assert tensor.shape == array.shape


@settings(deadline=None)
@given(ARRAYS)
def test_an_array_is_a_tensor_of_its_type_and_shape(case):
    name, array = case
    tensor = Tensor.of("x", array)
    assert (tensor.datatype, tensor.shape) == (name, array.shape)
    assert bytes(tensor.raw()) == np.ascontiguousarray(array).tobytes()


@settings(deadline=None)
@given(ARRAYS)
def test_numbers_come_through_json_lists_flat_or_nested(case):
    name, array = case
    for data in (array.reshape(-1).tolist(), array.tolist() if array.ndim else [array.item()]):
        tensor = from_values("x", name, array.shape, data)
        back = np.array(tensor.flat(), array.dtype).reshape(array.shape)
        assert np.array_equal(back, array, equal_nan=name.startswith("FP"))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=9), max_size=20))
def test_bytes_are_framed_as_the_real_client_frames_them(items):
    theirs = triton.serialize_byte_tensor(np.array(items, np.object_))
    framed = theirs.item() if theirs.size else b""
    tensor = from_raw("x", "BYTES", (len(items),), framed)
    assert tensor.values.to_pylist() == items
    assert bytes(tensor.raw()) == framed


@settings(deadline=None)
@given(st.lists(st.text(max_size=6), max_size=9))
def test_text_comes_through_json(items):
    tensor = from_values("x", "BYTES", (len(items),), items)
    assert tensor.flat() == items


def test_bytes_that_are_no_text_are_not_written_as_json():
    with pytest.raises(DataError, match="tensor 'x' of BYTES is not UTF-8"):
        from_values("x", "BYTES", (1,), [b"\xff"]).flat()


@settings(deadline=None)
@given(hnp.arrays(np.float32, (7,)))
def test_bf16_is_widened_exactly_and_written_as_it_came(array):
    short = array.astype(ml_dtypes.bfloat16)
    tensor = from_raw("x", "BF16", (7,), short.tobytes())
    assert np.array_equal(tensor.values, short.astype(np.float32), equal_nan=True)
    assert bytes(tensor.raw()) == short.tobytes()


def test_aligned_numbers_stay_where_they_are_and_others_are_copied_once():
    array = np.arange(6, dtype=np.int64)
    values = from_raw("x", "INT64", (6,), memoryview(array)).values
    assert values.ctypes.data == array.ctypes.data
    moved = from_raw("x", "INT64", (6,), memoryview(b"?" + array.tobytes())[1:]).values
    assert moved.flags.aligned
    assert moved.tolist() == array.tolist()


def test_an_array_is_a_tensor_in_place():
    array = np.arange(6, dtype=np.float32)
    assert Tensor.of("x", array).values.ctypes.data == array.ctypes.data


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "said"),
    [
        ("INT65", (1,), b"12345678", "datatype 'INT65'; there are BOOL"),
        ("INT64", (2,), b"12345678", "has 8 bytes; expected 16"),
        ("INT64", (-1,), b"", "dimension is at least 0"),
        ("INT64", (2**62, 2**62), b"", "expected"),
        ("BYTES", (2**62,), b"\0\0\0\0", "1 elements"),
        ("BYTES", (1,), b"\5\0\0\0abc", "element 0 is cut off: 5 bytes told, 3 left"),
        ("BYTES", (1,), b"\0\0\0", "holds 0 elements and 3 bytes more"),
        ("BYTES", (1,), b"\1\0\0\0ab", "holds 1 elements and 1 bytes more"),
        ("BYTES", (1,), struct.pack("<I", 2**32 - 1), "cut off"),
    ],
)
def test_a_malformed_binary_tensor_is_told_by_name(datatype, shape, data, said):
    with pytest.raises(DataError, match="tensor 'x'") as caught:
        from_raw("x", datatype, shape, data)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "said"),
    [
        ("INT64", (2,), [1], "but 1 elements"),
        ("INT64", (1,), [True], "element 0 is True; expected INT64"),
        ("INT64", (1,), [1.0], "element 0 is 1.0"),
        ("INT64", (1,), ["1"], "element 0 is '1'"),
        ("INT64", (1,), [None], "element 0 is None"),
        ("INT64", (1,), [2**63], "of INT64"),
        ("UINT8", (1,), [256], "of UINT8"),
        ("UINT8", (1,), [-1], "of UINT8"),
        ("FP32", (1,), [10**400], "of FP32"),
        ("BOOL", (1,), [1], "expected BOOL"),
        ("BYTES", (1,), [1], "expected BYTES"),
        ("INT64", (2, 1), [[1], [2, 3]], "not of 1 at depth 1"),
        ("INT64", (2, 1), [[1], 2], "not of 1 at depth 1"),
        ("INT64", (1,), "1", "expected a list"),
        ("INT64", (1,), 1, "expected a list"),
        ("INT64", (1, 1), [[[1]]], "element 0 is [1]"),
    ],
)
def test_a_malformed_value_is_told_by_name_and_place(datatype, shape, data, said):
    with pytest.raises(DataError, match="tensor 'x'") as caught:
        from_values("x", datatype, shape, data)
    assert said in str(caught.value)


@settings(deadline=None)
@given(
    st.sampled_from([*sorted(KNOWN), "BYTES"]),
    st.lists(st.integers(-1, 2**62), max_size=3),
    st.binary(max_size=40),
)
def test_any_bytes_are_a_tensor_or_a_data_error(datatype, shape, data):
    try:
        tensor = from_raw("x", datatype, shape, data)
    except DataError:
        return
    assert bytes(tensor.raw()) == data or datatype == "BOOL"


def test_a_column_that_no_tensor_can_be_is_told():
    with pytest.raises(DataError, match="a column of date32"):
        datatype_of(pa.date32())


def test_an_array_that_no_tensor_can_be_is_told():
    with pytest.raises(DataError, match="tensor 'x' is complex128"):
        Tensor.of("x", np.zeros(1, np.complex128))
