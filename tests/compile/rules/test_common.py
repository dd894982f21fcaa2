from nets import Sketch, assert_equal, dense, ops_of

from larix.compile import ops
from larix.compile.graph import Ref
from larix.compile.rules import common


def test_what_is_computed_twice_is_computed_once_however_deep():
    sketch = Sketch(dense(c=4))
    weight = sketch.weight(3, 4)
    twins = [sketch(ops.RELU, sketch(ops.LINEAR, Ref("x"), weight)) for _ in range(2)]
    graph = sketch.graph(sketch(ops.ADD, *twins))
    after, notes = common(graph)
    assert ops_of(after) == ["linear", "relu", "add"]
    assert notes == ["2 operations done before: n3, n4"]
    assert_equal(graph, after, tolerance=0)


def test_numbers_that_python_calls_equal_are_told_apart():
    sketch = Sketch(dense(c=4))
    graph = sketch.graph(
        sketch("aten.pow.Tensor_Scalar", Ref("x"), 1), sketch("aten.pow.Tensor_Scalar", Ref("x"), 1.0)
    )
    assert not common(graph)[1]


def test_two_draws_of_chance_stay_two():
    sketch = Sketch(dense(c=4))
    graph = sketch.graph(*(sketch("aten.rand_like.default", Ref("x")) for _ in range(2)))
    assert not common(graph)[1]
