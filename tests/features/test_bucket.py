import bisect
import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix import features as fx
from larix.errors import ConfigError


def buckets(values, edges):
    batch = fx.Sample(x=fx.Bucket("a", edges=edges, dim=2)).transform(
        pa.RecordBatch.from_pydict({"a": values})
    )
    return batch.ids["x"].values.tolist(), batch.missing["x"]


def test_buckets_count_from_1_and_an_edge_belongs_to_the_upper_one():
    assert buckets([-5.0, 0.0, 0.5, 1.0, 9.0], (0, 1)) == ([1, 2, 2, 3, 3], 0)


def test_null_and_nan_are_bucket_0_and_counted():
    assert buckets([None, math.nan, 1.0], (0, 1)) == ([0, 0, 3], 2)


def test_infinities_are_in_the_outer_buckets():
    assert buckets([-math.inf, math.inf], (0, 1)) == ([1, 3], 0)


def test_integers_and_booleans_have_buckets():
    assert buckets([1, 5, None], (2,)) == ([1, 2, 0], 1)
    assert buckets([True, False], (1,)) == ([2, 1], 0)


@given(
    st.lists(st.floats(allow_nan=False), min_size=1, max_size=40),
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=70, unique=True).map(sorted),
)
def test_the_bucket_is_what_bisection_says(values, edges):
    assert buckets(values, edges)[0] == [1 + bisect.bisect_right(edges, value) for value in values]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "has no edges; give edges="),
        ({"quantiles": 1}, "quantiles=1; it must be a whole number of at least 2"),
        ({"quantiles": 2.5}, "quantiles=2.5"),
        ({"edges": ()}, "edges=.*; give a tuple of at least one number"),
        ({"edges": 3}, "edges=3; give a tuple of at least one number"),
        ({"edges": (1, math.inf)}, "an edge=inf; it must be a finite number"),
        ({"edges": (1, "2")}, "an edge='2'; it must be a finite number"),
        ({"edges": (1, 3, 2)}, "has edges 3.0 then 2.0; they must be strictly increasing"),
        ({"edges": (1, 1)}, "strictly increasing"),
        ({"edges": (1,), "dim": -1}, "has dim -1"),
    ],
)
def test_a_wrong_declaration_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        fx.Bucket("a", **arguments)
