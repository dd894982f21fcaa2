import json
import random
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


def damaged(content, draw):
    """Some bytes changed, taken out or put in."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data) + 1)
        match draw.randrange(4):
            case 0:
                data[at : at + 1] = draw.randbytes(1)
            case 1:
                del data[at : at + draw.randint(1, 30)]
            case 2:
                data[at:at] = draw.randbytes(draw.randint(1, 9))
            case _:
                data[at : at + 1] = draw.choice([b"9", b"-", b"e9", b"]", b"0"])
    return bytes(data)


def fuzz(tmp_path, times):
    draw, content = random.Random(1), written(tmp_path)[0].read_bytes()
    read = sum(parse_any(damaged(content, draw)) for _ in range(times))
    assert 0 < read < times, "all were read, or none"


def test_damaged_files_are_read_or_refused(tmp_path):
    fuzz(tmp_path, 5000)


@pytest.mark.slow
def test_a_million_damaged_files_are_read_or_refused(tmp_path):
    fuzz(tmp_path, 1_000_000)
