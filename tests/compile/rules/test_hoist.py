import pytest
import torch
from hypothesis import given, settings
from nets import Sketch, assert_equal, dense, graphs, ops_of

from larix.compile import blocks, ops
from larix.compile.graph import Column, Input, Ref, Rows
from larix.compile.rules import hoist
from larix.compile.run import run

X = Ref("x")


def levels(graph):
    return {node.name: node.per_request for node in graph.nodes}


@settings(max_examples=80, deadline=None)
@given(graphs())
def test_a_hoisted_graph_gives_what_the_graph_gave(graph):
    assert_equal(graph, hoist(graph)[0], tolerance=1e-4)


def test_a_linear_over_both_kinds_of_columns_is_split():
    sketch = Sketch(dense(u1=5, c1=3, u2=2))
    graph = sketch.graph(sketch.linear(X, 4))
    after, notes = hoist(graph)
    assert [(each.name, each.per_request, each.shape) for each in after.inputs] == [
        ("x.request", True, (Rows(1), 7)),
        ("x.candidate", False, (Rows(1), 3)),
    ]
    assert ops_of(after) == ["linear", "linear", "add"]  # neither input's columns are cut or joined
    assert [node.per_request for node in after.nodes] == [True, False, False]
    assert notes[1] == "line 1: Linear split, 7 columns per request"
    assert_equal(graph, after)


def test_a_graph_that_gives_its_inputs_as_they_are_is_hoisted_too():
    graph = Sketch(dense(u1=2, c1=3)).graph(X)
    after = hoist(graph)[0]
    assert [each.name for each in after.inputs] == ["x.request", "x.candidate"]
    assert_equal(graph, after)


def test_what_depends_on_the_request_alone_is_computed_on_one_row_through_any_depth():
    sequence = Input("s", (Rows(1), 3, 4), torch.float32, (Column("s", 4, True),))
    sketch = Sketch(dense(c1=3), sequence)
    events = sketch(ops.RELU, sketch.linear(Ref("s"), 4))
    total = sketch("aten.sum.dim_IntList", sketch("aten.softmax.int", events, 1), (1,))
    graph = sketch.graph(sketch(ops.MUL, sketch.linear(X, 4), total))
    after, _ = hoist(graph)
    once = [ops.stem(node.op) for node in after.nodes if node.per_request]
    assert once == ["linear", "relu", "softmax", "sum"]
    assert "expand" not in ops_of(after)  # a product reads one row for all
    assert_equal(graph, after)


def test_a_candidate_attends_to_the_requests_events_without_a_copy_of_them():
    sequence = Input("s", (Rows(1), 3, 4), torch.float32, (Column("s", 4, True),))
    sketch = Sketch(dense(c1=3), sequence)
    scores = sketch(ops.EINSUM, "bd,bld->bl", (sketch.linear(X, 4), Ref("s")))
    products = sketch(ops.BMM, sketch(ops.UNSQUEEZE, scores, 1), Ref("s"))
    graph = sketch.graph(products)
    after, _ = hoist(graph)
    assert "expand" not in ops_of(after)
    assert_equal(graph, after)


def test_columns_pass_concatenation_slices_and_activations_one_by_one():
    sketch = Sketch(dense(u1=6, c1=3), dense("y", u3=5))
    x = sketch(ops.CAT, (sketch(ops.RELU, X), Ref("y")), 1)
    graph = sketch.graph(sketch.linear(sketch(ops.SLICE, x, 1, 1, 13), 4))
    after, notes = hoist(graph)
    assert notes[1].endswith("9 columns per request")  # 5 of 6, and 4 of 5
    assert_equal(graph, after)
    assert not blocks(graph)


def test_a_slice_that_tells_no_end_goes_to_the_last_column():
    sketch = Sketch(dense(u1=6, c1=3))
    graph = sketch.graph(sketch.linear(sketch(ops.SLICE, X, 1, 2), 4))
    after, notes = hoist(graph)
    assert notes[1].endswith("4 columns per request")
    assert_equal(graph, after)


def test_a_gate_fed_by_candidates_blocks_and_is_named():
    sketch = Sketch(dense(u1=6, c1=3))
    gate = sketch("aten.sigmoid.default", sketch.linear(X, 9))
    graph = sketch.graph(sketch.linear(sketch(ops.MUL, X, gate), 4))
    (block,) = blocks(graph)
    assert block.where == "line 3"
    assert block.flops == 2 * 6 * 4  # what the user's six columns cost in the last Linear, for each candidate
    assert_equal(graph, hoist(graph)[0])


def test_a_gate_fed_by_the_user_alone_does_not_block():
    sketch = Sketch(dense(u1=6, c1=3))
    gate = sketch("aten.sigmoid.default", sketch.linear(sketch(ops.SLICE, X, 1, 0, 6), 9))
    graph = sketch.graph(sketch.linear(sketch(ops.MUL, X, gate), 4))
    assert not blocks(graph)
    after, notes = hoist(graph)
    assert notes[1] == "line 5: Linear split, 6 columns per request"
    assert_equal(graph, after)


def test_a_norm_over_both_kinds_of_columns_blocks():
    sketch = Sketch(dense(u1=6, c1=3))
    graph = sketch.graph(sketch.linear(sketch(ops.LAYER_NORM, X, (9,)), 4))
    assert [block.where for block in blocks(graph)] == ["line 1, layer_norm"]
    assert_equal(graph, hoist(graph)[0])


@pytest.mark.parametrize(
    "across",
    [
        lambda s, x: s("aten.permute.default", s("aten.permute.default", x, (1, 0)), (1, 0)),
        lambda s, x: s("aten.cumsum.default", x, 0),
        lambda s, x: s("aten.flip.default", x, (0,)),
    ],
    ids=["permute", "cumsum", "flip"],
)
def test_what_may_mix_rows_is_given_all_of_them(across):
    sketch = Sketch(dense(u1=4))
    graph = sketch.graph(across(sketch, sketch(ops.RELU, X)))
    after, _ = hoist(graph)
    assert not any(
        node.per_request for node in after.nodes if ops.stem(node.op) in ("cumsum", "flip", "permute")
    )
    whole = {"x": torch.randn(1, 4).expand(5, 4).contiguous()}
    expected = run(graph, whole, 5)["output.0"]
    torch.testing.assert_close(run(after, {"x": whole["x"][:1]}, 5)["output.0"], expected)


def test_few_columns_of_the_request_are_not_worth_a_sum():
    sketch = Sketch(dense(u1=3, c1=9))
    graph = sketch.graph(sketch.linear(X, 4))
    after, _ = hoist(graph)
    assert ops_of(after).count("linear") == 1
    assert_equal(graph, after)


def test_a_graph_without_columns_of_the_request_stays_as_it_is():
    sketch = Sketch(dense(c1=3))
    graph = sketch.graph(sketch.linear(X, 4))
    assert hoist(graph) == (graph, [])


def test_an_output_of_the_request_alone_is_given_for_every_candidate():
    sketch = Sketch(dense(u1=5), dense("y", c1=2))
    graph = sketch.graph(sketch.linear(X, 4), Ref("y"))
    after, _ = hoist(graph)
    assert_equal(graph, after)
