import pytest
from nets import Sketch, assert_equal, dense, ops_of

from larix.compile import ops
from larix.compile.graph import Ref
from larix.compile.rules import merge


def parallel(widths, activation=ops.RELU):
    sketch = Sketch(dense(c=6))
    results = [sketch.linear(Ref("x"), width, bias=i % 2 == 0, seed=i) for i, width in enumerate(widths)]
    if activation:
        results = [sketch(activation, each) for each in results]
    return sketch.graph(*results)


@pytest.mark.parametrize("activation", [None, ops.RELU, "aten.sigmoid.default"])
def test_linears_of_one_input_become_one_with_one_activation(activation):
    graph = parallel([3, 5, 2], activation)
    after, notes = merge(graph)
    assert ops_of(after).count("linear") == 1
    assert len(ops_of(after)) == 4 + bool(activation)
    assert "3 + 5 + 2 columns" in notes[0]
    assert_equal(graph, after)


def test_only_linears_with_the_same_activation_are_joined():
    sketch = Sketch(dense(c=6))
    two = [sketch(ops.RELU, sketch.linear(Ref("x"), 3)) for _ in range(2)]
    graph = sketch.graph(*two, sketch.linear(Ref("x"), 4), sketch.linear(two[0], 4))
    after, _ = merge(graph)
    assert ops_of(after).count("linear") == 3
    assert_equal(graph, after)


def test_wide_linears_stay_apart_unless_they_are_per_request():
    graph = parallel([256, 256])
    assert not merge(graph)[1]


def test_a_linear_whose_result_goes_to_two_readers_is_joined_before_its_activation():
    sketch = Sketch(dense(c=6))
    first, second = sketch.linear(Ref("x"), 3), sketch.linear(Ref("x"), 3, seed=1)
    graph = sketch.graph(
        sketch(ops.RELU, first), sketch("aten.sigmoid.default", first), sketch(ops.ADD, second, first)
    )
    after, _ = merge(graph)
    assert ops_of(after).count("linear") == 1
    assert_equal(graph, after)
