import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix.data.widen import widened, wider

SCALARS = [
    pa.null(),
    pa.int64(),
    pa.uint64(),
    pa.float32(),
    pa.float64(),
    pa.bool_(),
    pa.string(),
    pa.binary(),
]
KINDS = [*SCALARS, *(pa.list_(kind) for kind in SCALARS)]


@given(st.sampled_from(KINDS), st.sampled_from(KINDS))
def test_the_wider_type_is_the_same_from_both_sides_and_holds_both(one, other):
    found = wider(one, other)
    assert found == wider(other, one)
    if found is not None:
        assert wider(found, one) == found == wider(found, other)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (pa.null(), pa.string(), pa.string()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.int64(), pa.uint64(), pa.uint64()),
        (pa.int64(), pa.list_(pa.int64()), pa.list_(pa.int64())),
        (pa.list_(pa.null()), pa.int64(), pa.list_(pa.int64())),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.string(), pa.binary(), pa.binary()),
        (pa.int64(), pa.string(), None),
        (pa.bool_(), pa.int64(), None),
        (pa.struct([("x", pa.int64())]), pa.struct([("x", pa.float64())]), None),
    ],
)
def test_what_is_wider(one, other, expected):
    assert wider(one, other) == expected


def column(values, kind):
    return pa.chunked_array([pa.array(values[:1], kind), pa.array(values[1:], kind)])


@pytest.mark.parametrize(
    ("values", "kind", "to", "expected"),
    [
        ([1, None], pa.int64(), pa.float64(), [1.0, None]),
        ([1, None, 2], pa.int64(), pa.list_(pa.float64()), [[1.0], None, [2.0]]),
        ([None, None], pa.null(), pa.list_(pa.int64()), [None, None]),
        ([[1], [], None], pa.list_(pa.int64()), pa.list_(pa.float64()), [[1.0], [], None]),
        (["a", None], pa.string(), pa.binary(), [b"a", None]),
        ([1, 2**62], pa.int64(), pa.uint64(), [1, 2**62]),
    ],
)
def test_values_are_kept(values, kind, to, expected):
    found = widened(column(values, kind), to)
    assert found.type == to
    assert found.to_pylist() == expected


@pytest.mark.parametrize(
    ("value", "kind", "to"),
    [
        (2**53 + 1, pa.int64(), pa.float64()),
        (-1, pa.int64(), pa.uint64()),
        (2**53 + 1, pa.int64(), pa.list_(pa.float64())),
    ],
)
def test_a_value_that_would_be_lost_is_an_error(value, kind, to):
    with pytest.raises(pa.ArrowInvalid):
        widened(column([value], kind), to)
