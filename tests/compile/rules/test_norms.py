import torch
from nets import Sketch, assert_equal, dense, experts, ops_of

from larix.compile import capture, ops
from larix.compile.graph import Ref
from larix.compile.rules import drop, norms


def test_a_batch_norm_behind_a_linear_becomes_part_of_it():
    graph, _ = drop(capture(experts(), {"x": torch.randn(4, 12)}))
    after, notes = norms(graph)
    assert "_native_batch_norm_legit_no_training" in ops_of(graph)
    assert not {"_native_batch_norm_legit_no_training", "mul", "add"} & set(ops_of(after))
    assert ops_of(after).count("linear") == ops_of(graph).count("linear")
    assert len(notes) == 6  # for each of two norms: opened, its scale, its shift
    assert_equal(graph, after)


def test_a_layer_norms_scale_and_shift_go_into_the_linears_behind_it():
    sketch = Sketch(dense(c=6))
    norm = sketch(ops.LAYER_NORM, Ref("x"), (6,), sketch.weight(6), sketch.weight(6, seed=5), 1e-5)
    graph = sketch.graph(sketch.linear(norm, 3), sketch.linear(norm, 2, bias=False))
    after, _ = norms(graph)
    assert ops_of(after) == ["layer_norm", "linear", "linear"]
    assert after.nodes[0].args[2:4] == (None, None)
    assert_equal(graph, after)


def test_a_norm_that_others_than_linears_read_keeps_its_scale():
    sketch = Sketch(dense(c=6))
    norm = sketch(ops.LAYER_NORM, Ref("x"), (6,), sketch.weight(6), sketch.weight(6), 1e-5)
    graph = sketch.graph(sketch.linear(norm, 3), sketch(ops.RELU, norm))
    after, notes = norms(graph)
    assert ops_of(after) == ops_of(graph)
    assert not notes


def test_a_linear_that_others_read_too_does_not_take_the_scale_of_one_of_them():
    sketch = Sketch(dense(c=6))
    x = sketch.linear(Ref("x"), 3)
    graph = sketch.graph(sketch(ops.MUL, x, sketch.weight(3)), sketch(ops.RELU, x))
    after, _ = norms(graph)
    assert ops_of(after).count("mul") == 1
    assert_equal(graph, after)


def test_scales_before_and_behind_a_linear_all_go_into_it():
    sketch = Sketch(dense(c=6))
    x = sketch(ops.ADD, sketch(ops.MUL, Ref("x"), sketch.weight(6)), sketch.weight(6))
    x = sketch(ops.ADD, sketch(ops.MUL, sketch.linear(x, 3, bias=False), sketch.weight(3)), sketch.weight(1))
    graph = sketch.graph(x)
    after, _ = norms(graph)
    assert ops_of(after) == ["linear"]
    assert_equal(graph, after)
