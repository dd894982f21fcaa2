import numpy as np
import pytest
import torch
from nets import Sketch, dense, feed

from larix.compile.feeds import Wanted, parts_of
from larix.compile.graph import Ref
from larix.compile.rules import hoist
from larix.errors import DataError


def graphs():
    sketch = Sketch(dense(u1=5, c1=3, u2=1), dense("y", c=2), dense("z", u=2))
    before = sketch.graph(sketch.linear(Ref("x"), 2), Ref("y"), Ref("z"))
    return before, hoist(before)[0]


def test_whole_arrays_are_cut_into_the_requests_row_and_the_candidates_rows():
    before, after = graphs()
    whole = feed(before, rows=4)
    parts = parts_of(before.inputs, after, whole)
    assert {name: each.shape for name, each in parts.items()} == {
        "x.request": (1, 6), "x.candidate": (4, 3), "y": (4, 2), "z": (1, 2),
    }  # fmt: skip
    np.testing.assert_array_equal(parts["x.request"][0], whole["x"][0, [0, 1, 2, 3, 4, 8]])
    assert Wanted(after).rows(parts) == 4
    assert parts_of(before.inputs, after, whole, each=True)["x.request"].shape == (4, 6)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda parts: parts.pop("y"), "this graph takes"),
        (lambda parts: parts.update(y=parts["y"][:2]), "'x.candidate' has 4 and 'y' has 2"),
        (
            lambda parts: parts.update(y=parts["y"].astype(np.float64)),
            r"input 'y' is float64 \(4, 2\); give float32 \[n, 2\]",
        ),
        (lambda parts: parts.update(z=np.zeros((4, 2), np.float32)), "'z' is per request but has 4 rows"),
        (lambda parts: parts.update(z=np.zeros((1, 3), np.float32)), r"give float32 \[1, 2\]"),
    ],
)
def test_what_the_graph_does_not_take_is_refused(change, match):
    before, after = graphs()
    parts = parts_of(before.inputs, after, feed(before, rows=4))
    change(parts)
    with pytest.raises(DataError, match=match):
        Wanted(after).rows(parts)


def test_masks_are_given_as_bool():
    from larix.compile.feeds import numpy_dtype

    assert numpy_dtype(torch.bool) == np.bool_
