import numpy as np
import pytest

from larix.batch import Batch, History, Jagged
from larix.errors import DataError


def test_jagged_without_offsets_holds_one_id_a_sample():
    assert Jagged(np.arange(3)).size == 3
    assert Jagged(np.arange(3), np.array([0, 0, 3])).size == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"ids": {"a": Jagged(np.arange(3))}},
        {"sequences": {"h": History(np.zeros(4, np.int64), {}, np.zeros((0, 0), np.float32))}},
        {"labels": np.zeros((3, 1), np.float32)},
        {"weight": np.zeros(1, np.float32)},
    ],
)
def test_a_batch_refuses_parts_of_another_size(wrong):
    parts = {"ids": {}, "sequences": {}, "dense": np.zeros((2, 0), np.float32)} | wrong
    with pytest.raises(DataError, match="but the batch has 2"):
        Batch(size=2, **parts)
