import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.embedding import tensors
from larix.errors import StorageError

ARRAYS = {
    "ids": tensors.Tensor("I64", np.arange(5)),
    "seen": tensors.Tensor("U32", np.arange(5, dtype=np.uint32)),
    "weights": tensors.Tensor("F32", np.ones((5, 3), np.float32)),
    "half": tensors.Tensor("F16", np.ones((5, 1), np.float32)),
    "brain": tensors.Tensor("BF16", np.ones((5, 1), np.float32)),
}


def written(tmp_path):
    path = tmp_path / "x.safetensors"
    return path, tensors.write(path, ARRAYS)


def test_arrays_come_back_as_they_were_each_at_a_multiple_of_its_width(tmp_path):
    found = tensors.read(*written(tmp_path))
    for name, (_, array) in ARRAYS.items():
        assert np.array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.aligned


def test_a_file_that_is_not_the_one_that_was_written_is_refused(tmp_path):
    path, digest = written(tmp_path)
    with pytest.raises(StorageError, match=r"x.safetensors' is damaged: its SHA-256 is .*, not 000000000000"):
        tensors.read(path, "0" * 64)
    path.unlink()
    with pytest.raises(StorageError, match=r"x.safetensors' cannot be read: No such file"):
        tensors.read(path, digest)


def parse_any(content):
    """Arrays of bytes of unknown origin lie inside them; anything else is refused."""
    try:
        found = tensors.parse(np.frombuffer(content, np.uint8))
    except ValueError:
        return False
    assert sum(array.nbytes for array in found.values()) <= 2 * len(found) * len(content)
    return True


HEADERS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.just("F32")
    | st.just("BF16"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "dtype", "shape", "data_offsets", "__metadata__"]), inner, max_size=4
        )
    ),
)


@settings(deadline=None, max_examples=300)
@given(HEADERS, st.binary(max_size=40), st.integers(-9, 9))
def test_a_header_of_any_kind_is_read_or_refused(header, data, off):
    text = json.dumps(header).encode()
    parse_any(struct.pack("<Q", max(len(text) + off, 0)) + text + data)


def file_of(header, data=bytes(64), shift=0):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + shift)
    return np.frombuffer(struct.pack("<Q", len(text)) + text + data, np.uint8)


@pytest.mark.parametrize("shape", [[2**34, "xx"], [1.0], [2**64, 0], [-1, -1], [True], [0] * 33, "11", None])
def test_a_shape_that_no_array_has_takes_no_memory_and_is_refused(shape):
    with pytest.raises(ValueError, match=r"no shape that|is not one"):
        tensors.parse(file_of({"a": {"dtype": "U8", "shape": shape, "data_offsets": [0, 1]}}))


def test_arrays_of_a_file_that_aligns_nothing_are_aligned_and_the_same():
    content = np.arange(8, dtype="<f4").tobytes()
    header = {"a": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}}
    found = tensors.parse(file_of(header, content, shift=3))["a"]
    assert found.flags.aligned
    assert np.array_equal(found, np.arange(8).reshape(2, 4))


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "sentence"),
    [
        ("none", np.float32, (5, 3), "'none' is not in it"),
        ("ids", np.float32, (5,), r"'ids' is int64 \[5\], not float32 \[5\]"),
        ("weights", np.float32, (5, 2), r"'weights' is float32 \[5, 3\], not float32 \[5, 2\]"),
    ],
)
def test_an_array_that_is_not_the_one_expected_is_named(tmp_path, name, dtype, shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        tensors.column(tensors.read(*written(tmp_path)), name, dtype, shape)
