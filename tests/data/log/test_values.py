import json
import math

import pyarrow as pa
import pytest

from larix.data.log.values import column, text, typed


def test_values_of_one_kind_keep_it_and_of_several_become_text():
    assert column([1, None]).type == pa.int64()
    assert column([1, "x", None, b"\xff", 2.5]).to_pylist() == ["1", "x", None, "\\xff", "2.5"]
    assert column([2**70, None]).to_pylist() == [str(2**70), None]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.5], pa.int64()),
        ([0.1], pa.float32()),
        ([300], pa.int8()),
        (["x"], pa.int64()),
        ([1], pa.string()),
        ([{"a": 1, "b": 2}], pa.struct([("a", pa.int64())])),
    ],
)
def test_a_type_in_which_values_would_be_lost_is_not_taken(values, kind):
    assert typed(values, kind) is None


def test_a_type_in_which_values_are_whole_is_taken():
    assert typed([1, 2], pa.float64()).type == pa.float64()
    assert typed([None], pa.list_(pa.int8())).type == pa.list_(pa.int8())
    assert typed([0.5], pa.float32()).to_pylist() == [0.5]
    assert typed([math.nan], pa.float16()).type == pa.float16()


def test_text_of_anything_is_told():
    assert text("\ud800x") == "?x"
    assert json.loads(text([1, {"a": b"\xff"}])) == [1, {"a": "\\xff"}]
