import pytest
import torch
from nets import Sketch, assert_equal, dense, experts, ops_of

from larix.compile import capture, ops, optimise
from larix.compile.graph import Ref, Rows
from larix.compile.rules import cheaper, mix


def mixed(gates, mixtures=3, number=4, op=ops.BMM, axis=1):
    """Three mixtures of four experts; ``gates`` makes the weights of the scores ``[n, mixtures * number]``."""
    sketch = Sketch(dense(c=6))
    values = tuple(sketch.linear(Ref("x"), 5, seed=i) for i in range(number))
    scores = sketch.linear(Ref("x"), mixtures * number, seed=9)
    stacked = sketch(ops.STACK, values, axis)
    product = sketch(op, gates(sketch, scores, mixtures, number), stacked)
    return sketch.graph(*(sketch(ops.SELECT, product, 1, task) for task in range(mixtures)))


def together(sketch, scores, mixtures, number):
    return sketch(ops.SOFTMAX, sketch(ops.RESHAPE, scores, (Rows(1), mixtures, number)), 2)


def apart(sketch, scores, mixtures, number):
    cut = [sketch(ops.SLICE, scores, 1, at * number, (at + 1) * number) for at in range(mixtures)]
    return sketch(ops.STACK, tuple(sketch(ops.SOFTMAX, each, 1) for each in cut), 1)


def scaled(sketch, scores, mixtures, number):
    return sketch(ops.RESHAPE, sketch("aten.sigmoid.default", scores), (Rows(1), mixtures, number))


@pytest.mark.parametrize("gates", [together, apart, scaled])
@pytest.mark.parametrize("op", [ops.BMM, ops.MATMUL])
def test_a_mixture_becomes_sums_of_experts_that_nobody_joins_or_cuts_apart(gates, op):
    graph = mixed(gates, op=op)
    after, steps = optimise(graph, [mix, cheaper])
    assert "3 mixtures of 4 experts as weighted sums" in steps[0].notes[0]
    assert not {"bmm", "matmul", "stack", "select"} & set(ops_of(after))
    assert ops_of(after).count("mul") == 12
    assert ops_of(after).count("softmax") == (0 if gates is scaled else 3)
    assert_equal(graph, after)


def test_a_softmax_over_other_groups_than_the_mixtures_is_taken_as_it_stands():
    def across(sketch, scores, mixtures, number):
        return sketch(ops.SOFTMAX, sketch(ops.RESHAPE, scores, (Rows(1), mixtures, number)), 1)

    graph = mixed(across)
    after, _ = mix(graph)
    assert ops_of(after).count("softmax") == 1
    assert_equal(graph, after)


@pytest.mark.parametrize(("mixtures", "number"), [(9, 2), (2, 9)])
def test_many_experts_or_mixtures_stay_a_product(mixtures, number):
    assert mix(mixed(scaled, mixtures, number))[1] == []


def test_experts_joined_along_another_axis_stay_a_product():
    sketch = Sketch(dense(c=6))
    stacked = sketch(ops.STACK, tuple(sketch.linear(Ref("x"), 5, seed=i) for i in range(5)), 2)
    weights = sketch(ops.RESHAPE, sketch.linear(Ref("x"), 10), (Rows(1), 2, 5))
    assert mix(sketch.graph(sketch(ops.BMM, weights, stacked)))[1] == []


def test_what_has_been_hoisted_can_be_mixed():
    graph = capture(
        experts(), {"x": torch.randn(4, 12)}, per_request={"x": [("u", 8, True), ("c", 4, False)]}
    )
    hoisted, _ = optimise(graph)
    after, steps = optimise(hoisted, [mix, cheaper])
    assert steps[0].rule == "mix"
    assert_equal(graph, after)
