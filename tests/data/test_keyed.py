import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix.data.keyed import partitions
from larix.errors import DataError


def test_keys_never_move():
    assert partitions(pa.array(range(8)), 4).tolist() == [1, 0, 0, 0, 3, 2, 1, 2]
    assert partitions(pa.array(["ann", "bob", "cay", "", None]), 7).tolist() == [1, 4, 3, 4, 4]


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=40), st.integers(1, 9))
def test_a_key_goes_to_one_partition_however_it_is_written_and_whatever_is_beside_it(keys, count):
    found = partitions(pa.array(keys, pa.int64()), count)
    assert ((found >= 0) & (found < count)).all()
    texts = pa.array([None if key is None else str(key) for key in keys], pa.string())
    for same in (texts, texts.cast(pa.large_string()), texts.dictionary_encode()):
        np.testing.assert_array_equal(partitions(same, count), found)
    alone = [partitions(pa.array([key], pa.int64()), count)[0] for key in keys]
    assert alone == found.tolist()


def test_keys_spread():
    counts = np.bincount(partitions(pa.array(range(10_000)), 8), minlength=8)
    assert counts.min() > 1000


def test_a_column_that_is_no_key_is_told():
    for column in (pa.array([1.5]), pa.array([True]), pa.nulls(0, pa.float64())):
        with pytest.raises(DataError, match=f"column of {column.type}"):
            partitions(column, 2)
    assert partitions(pa.nulls(3), 2).tolist() == partitions(pa.array([""] * 3), 2).tolist()
