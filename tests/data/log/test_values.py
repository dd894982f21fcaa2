import json
import math

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from larix.data.log.values import column, grown, text, typed
from larix.errors import DataError


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


def there(array):
    """All values of an array, those inside of others included."""
    if pa.types.is_struct(array.type):
        return len(array) + sum(there(array.field(at)) for at in range(array.type.num_fields))
    return len(array) + (there(array.values) if pa.types.is_list(array.type) else 0)


NESTED = st.recursive(
    st.none() | st.integers(0, 9),
    lambda inside: (
        st.lists(inside, max_size=4) | st.dictionaries(st.sampled_from("abcdef"), inside, max_size=4)
    ),
    max_leaves=30,
)


@given(st.lists(NESTED, max_size=8))
def test_what_values_grow_to_is_told_before_they_do(values):
    try:
        array = pa.array(values)
    except pa.ArrowException:
        assume(False)
    assert grown(values) == there(array)


def test_rows_whose_fields_differ_grow_to_rows_times_fields():
    assert grown([{f"k{at}": 1} for at in range(1000)]) == 1000 + 1000 * 1000
    assert grown([[{f"k{at}": 1} for at in range(1000)], None]) == 2 + 1000 + 1000 * 1000
    assert grown(["x"] * 1000) == 1000


@pytest.mark.parametrize("wrap", [lambda inside: [inside], lambda inside: {"a": inside}])
def test_values_too_deep_for_arrows_files_are_told(wrap):
    value = 1
    for _ in range(59):
        value = wrap(value)
    batch = pa.record_batch({"x": column([value]), "y": [1]})
    assert grown([value]) == 60
    with pa.ipc.new_stream(pa.BufferOutputStream(), batch.schema) as stream:
        stream.write_batch(batch)
    with pytest.raises(DataError, match="more than 60 levels"):
        grown([wrap(wrap(value))])
