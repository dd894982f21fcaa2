import numpy as np
import pytest
import torch
from hypothesis import given, settings
from nets import Sketch, dense, feed, graphs, ops_of, outputs
from torch import nn

from larix.compile import capture, ops, optimise
from larix.compile.feeds import parts_of
from larix.compile.graph import Column, Input, Ref, Rows
from larix.compile.rules import cheaper, mix, turn
from larix.model.attention import AttentionConfig, TargetAttention


class Attended(nn.Module):
    def __init__(self, aged):
        super().__init__()
        self.attention = TargetAttention(6, 5, AttentionConfig(width=8, heads=2), aged=aged)

    def forward(self, target, events, age, mask):
        return self.attention(target, events, age if self.attention.age is not None else None, mask)


def attended(aged=True):
    torch.manual_seed(0)
    examples = {"target": torch.randn(3, 6), "events": torch.randn(3, 7, 5), "age": torch.rand(3, 7)}
    examples["mask"] = torch.arange(7) < torch.tensor([[7], [4], [0]])
    return capture(
        Attended(aged).eval(), examples, per_request=dict.fromkeys(["events", "age", "mask"], True)
    )


def assert_alike(before, after, rows=5):
    """Both give the same for candidates of one request, which is what a graph with one row of the request's is for."""
    whole = feed(before, rows)
    expected = outputs(before, whole, rows)
    for name, value in outputs(after, parts_of(before.inputs, after, whole), rows).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("aged", [True, False])
def test_attention_over_a_history_is_two_products_between_which_nothing_large_is_turned(aged):
    graph = attended(aged)
    hoisted, _ = optimise(graph)
    after, notes = turn(hoisted)
    assert len(notes) == 2
    assert "bhd,blhd->bhl" in notes[0]
    assert "einsum" not in ops_of(after)
    turned = [node for node in after.nodes if node.op == ops.PERMUTE and not node.per_request]
    assert len(turned) == 2  # the query and the result: what is as long as the history stays as it is made
    assert_alike(graph, after)


def test_a_history_of_each_candidate_is_left_alone():
    graph = attended()
    assert turn(graph) == (graph, [])


@pytest.mark.parametrize("equation", ["bd,bld->bl", "bhd,bhld->bhl", "bhd,bldh->blh", "bhd,bdhm->bmh"])
def test_an_equation_in_any_order_is_that_product(equation):
    sizes = {"h": 2, "d": 3, "l": 4, "m": 5}
    left, right = equation.partition("->")[0].split(",")
    shape = [sizes[each] for each in right[1:]]
    row = Input("y", (Rows(1), *shape), torch.float32, (Column("y", shape[-1], True),), per_request=True)
    wide = int(np.prod([sizes[each] for each in left[1:]]))
    sketch = Sketch(dense(c=wide), row)
    x = sketch(ops.RESHAPE, Ref("x"), (Rows(1), *(sizes[each] for each in left[1:])))
    graph = sketch.graph(sketch(ops.EINSUM, equation, (x, Ref("y"))))
    after, notes = turn(graph)
    assert len(notes) == 1
    assert "einsum" not in ops_of(after)
    assert_alike(graph, after)


@pytest.mark.parametrize("equation", ["bhd,blhd->bl", "bhd,blhd->blhd", "bhd,bhd->bh"])
def test_other_equations_are_left_alone(equation):
    right = {"bhd,bhd->bh": (2, 3)}.get(equation, (4, 2, 3))
    row = Input("y", (Rows(1), *right), torch.float32, (Column("y", 3, True),), per_request=True)
    sketch = Sketch(dense(c=6), row)
    x = sketch(ops.RESHAPE, Ref("x"), (Rows(1), 2, 3))
    assert turn(sketch.graph(sketch(ops.EINSUM, equation, (x, Ref("y")))))[1] == []


@pytest.mark.parametrize(("sizes", "products"), [((4, 2, 1), 0), ((4, 1, 3), 1), ((1, 2, 3), 1)])
def test_one_value_that_stands_for_many_keeps_its_meaning(sizes, products):
    row = Input("y", (Rows(1), *sizes), torch.float32, (Column("y", sizes[-1], True),), per_request=True)
    sketch = Sketch(dense(c=6), row)
    x = sketch(ops.RESHAPE, Ref("x"), (Rows(1), 2, 3))
    graph = sketch.graph(sketch(ops.EINSUM, "bhd,blhd->bhl", (x, Ref("y"))))
    after, notes = turn(graph)
    assert len(notes) == products
    assert_alike(graph, after)


def test_what_is_of_each_candidate_and_in_another_order_stops_the_turning():
    row = Input("y", (Rows(1), 4, 2, 3), torch.float32, (Column("y", 3, True),), per_request=True)
    sketch = Sketch(dense(c=6), dense("z", c=8), row)
    x = sketch(ops.RESHAPE, Ref("x"), (Rows(1), 2, 3))
    scores = sketch(ops.EINSUM, "bhd,blhd->bhl", (x, Ref("y")))
    graph = sketch.graph(sketch(ops.ADD, scores, sketch(ops.RESHAPE, Ref("z"), (Rows(1), 2, 4))))
    after, _ = turn(graph)
    assert ops_of(after)[-1] == "add"
    assert_alike(graph, after)


@pytest.mark.parametrize("order", [(0, 2, 1), (0, -1, 1), (-3, -1, -2)])
def test_what_a_network_turns_itself_may_count_its_axes_from_the_end(order):
    row = Input("y", (Rows(1), 4, 2, 3), torch.float32, (Column("y", 3, True),), per_request=True)
    sketch = Sketch(dense(c=6), row)
    x = sketch(ops.RESHAPE, Ref("x"), (Rows(1), 2, 3))
    scores = sketch(ops.EINSUM, "bhd,blhd->bhl", (x, Ref("y")))
    turned = sketch(ops.PERMUTE, x, order)
    shifted = sketch(ops.ADD, turned, sketch.weight(1, 3, 2))
    back = sketch(ops.PERMUTE, sketch("aten.softmax.int", shifted, -1), (0, -1, 1))
    graph = sketch.graph(scores, shifted, sketch(ops.MUL, back, x))
    after, notes = turn(graph)
    assert len(notes) == 1
    assert_alike(graph, after)


def test_one_row_that_was_turned_in_another_way_is_not_taken_for_one_that_was_turned_alike():
    row = Input("y", (Rows(1), 4, 2, 3), torch.float32, (Column("y", 3, True),), per_request=True)
    sketch = Sketch(dense(c=6), row)
    x = sketch(ops.RESHAPE, Ref("x"), (Rows(1), 2, 3))
    scores = sketch(ops.EINSUM, "bhd,blhd->bhl", (x, Ref("y")))
    one = sketch(ops.PERMUTE, sketch.weight(3, 2, 1), (2, 0, 1))
    square = sketch(ops.PERMUTE, sketch.weight(2, 2, 1), (2, 0, 1))  # which no shape tells apart
    other = sketch(ops.PERMUTE, sketch(ops.SLICE, x, 2, 0, 2), (0, 2, 1))
    sums = sketch(ops.ADD, sketch(ops.PERMUTE, x, (0, 2, 1)), one), sketch(ops.ADD, other, square)
    graph = sketch.graph(scores, *sums)
    after, notes = turn(graph)
    assert len(notes) == 1
    assert_alike(graph, after)


@settings(max_examples=50, deadline=None)
@given(graphs())
def test_whatever_has_been_hoisted_may_be_turned(graph):
    after, _ = optimise(optimise(graph)[0], [mix, turn, cheaper])
    whole = feed(graph, 5)
    expected = outputs(graph, whole, 5)
    for name, value in outputs(after, parts_of(graph.inputs, after, whole), 5).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=1e-3)
