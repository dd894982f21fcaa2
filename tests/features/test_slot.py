import numpy as np
import pytest

from larix import features as fx
from larix.errors import ConfigError
from larix.features.slot import check_column, jagged


def test_ids_all_known_need_no_offsets():
    ids, missing = jagged(np.array([3, 4]), None)
    assert ids.values.tolist() == [3, 4]
    assert ids.offsets is None
    assert missing == 0


def test_ids_not_known_are_left_out_and_counted():
    ids, missing = jagged(np.array([3, 4, 5]), np.array([False, True, False]))
    assert ids.values.tolist() == [4]
    assert ids.offsets.tolist() == [0, 0, 1, 1]
    assert missing == 2


def test_a_column_is_named_by_a_string_that_is_not_empty():
    for column in ("", None, 3):
        with pytest.raises(ConfigError, match="Hour reads a column by its name, a string, but got"):
            check_column(fx.Hour("t", dim=2), column)
