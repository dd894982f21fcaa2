import torch
from nets import Sketch, assert_equal, dense, ops_of

from larix.compile import ops
from larix.compile.graph import Ref, Rows
from larix.compile.rules import fold


def test_what_depends_on_weights_alone_is_computed_once_and_for_all():
    sketch = Sketch(dense(c=4))
    scale = sketch("aten.exp.default", sketch("aten.sigmoid.default", sketch.weight(4)))
    graph = sketch.graph(sketch(ops.MUL, Ref("x"), scale))
    after, notes = fold(graph)
    assert ops_of(after) == ["mul"]
    assert notes == ["2 operations on weights alone"]
    assert_equal(graph, after, tolerance=0)


def test_equal_weights_become_one_and_unequal_ones_do_not():
    sketch = Sketch(dense(c=4))
    same, other = torch.ones(4), torch.full((4,), 2.0)
    refs = [sketch.writer.weight("w", each) for each in (same, same.clone(), other)]
    graph = sketch.graph(*(sketch(ops.ADD, Ref("x"), ref) for ref in refs))
    after, notes = fold(graph)
    assert len(after.weights) == 2
    assert notes == ["1 weights that another equals"]
    assert_equal(graph, after, tolerance=0)


def test_what_makes_rows_or_is_much_larger_than_what_it_is_made_of_stays():
    sketch = Sketch(dense(c=4))
    rows = sketch(ops.EXPAND, sketch.weight(1, 4), (Rows(1), 4))
    large = sketch("aten.repeat.default", sketch.weight(1, 4), (1 << 17, 1))
    graph = sketch.graph(sketch(ops.ADD, Ref("x"), rows), sketch("aten.sum.default", large))
    after, notes = fold(graph)
    assert ops_of(after) == ops_of(graph)
    assert not notes


def test_random_numbers_are_not_drawn_ahead():
    sketch = Sketch(dense(c=4))
    noise = sketch("aten.rand_like.default", sketch.weight(4))
    graph = sketch.graph(sketch(ops.ADD, Ref("x"), noise))
    assert ops_of(fold(graph)[0]) == ["rand_like", "add"]
