from nets import Sketch, assert_equal, dense, ops_of

from larix.compile import ops
from larix.compile.graph import Ref
from larix.compile.rules import drop


def test_copies_and_detach_and_dropout_that_is_off_are_read_through():
    sketch = Sketch(dense(c=4))
    x = sketch("aten.detach.default", sketch("aten.clone.default", Ref("x")))
    x = sketch("aten.dropout.default", sketch(ops.RELU, x), 0.5, False)
    graph = sketch.graph(sketch.linear(x, 2))
    after, notes = drop(graph)
    assert ops_of(after) == ["relu", "linear"]
    assert notes == ["1 clone, 1 detach, 1 dropout: only training needs them"]
    assert_equal(graph, after, tolerance=0)


def test_a_dropout_that_is_on_stays():
    sketch = Sketch(dense(c=4))
    graph = sketch.graph(sketch("aten.dropout.default", Ref("x"), 0.5, True))
    after, notes = drop(graph)
    assert ops_of(after) == ["dropout"]
    assert not notes
