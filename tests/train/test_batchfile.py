import numpy as np
import pytest

from larix.batch import Batch, History, Jagged
from larix.errors import StorageError
from larix.train.batchfile import read_batch, write_batch


def test_a_batch_comes_back_from_its_file_as_it_was(tmp_path):
    offsets = np.array([0, 2, 2])
    batch = Batch(
        size=2,
        ids={
            "a": Jagged(np.array([-1, 2])),
            "b": Jagged(np.array([3, 4]), offsets, np.array([0.5, 2], np.float32)),
        },
        sequences={"h": History(offsets, {"x": np.array([5, 6])}, np.ones((2, 1), np.float32))},
        dense=np.array([[np.nan], [1]], np.float32),
        labels=np.array([[np.nan], [np.inf]], np.float32),
        time=np.array([7, 8]),
    )
    write_batch(batch, tmp_path / "batch")
    back = read_batch(tmp_path / "batch")
    assert back.size == 2
    assert sorted(back.ids) == ["a", "b"]
    assert back.ids["a"].offsets is None
    for one, other in [
        (back.ids["a"].values, batch.ids["a"].values),
        (back.ids["b"].offsets, offsets),
        (back.ids["b"].weights, batch.ids["b"].weights),
        (back.sequences["h"].ids["x"], batch.sequences["h"].ids["x"]),
        (back.sequences["h"].dense, batch.sequences["h"].dense),
        (back.dense, batch.dense),
        (back.labels, batch.labels),
        (back.time, batch.time),
    ]:
        np.testing.assert_array_equal(one, other)
    assert back.weight is None
    assert back.group is None


def test_a_file_that_is_no_batch_is_named(tmp_path):
    (tmp_path / "x").write_bytes(b"no batch")
    with pytest.raises(StorageError, match=r"'.*x' cannot be read"):
        read_batch(tmp_path / "x")
