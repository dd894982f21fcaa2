from nets import Sketch, dense

from larix.compile import ops
from larix.compile.cost import Cost, cost
from larix.compile.graph import Ref
from larix.compile.rules import hoist


def test_a_linear_costs_two_operations_for_each_weight_and_row_and_moves_what_it_reads_and_writes():
    sketch = Sketch(dense(c=6))
    graph = sketch.graph(sketch.linear(Ref("x"), 4))
    assert cost(graph, 10) == Cost(2 * 10 * 6 * 4, 4 * (10 * 6 + 6 * 4 + 4 + 10 * 4))


def test_views_are_free_and_an_activation_costs_one_for_each_value():
    sketch = Sketch(dense(c=6))
    graph = sketch.graph(sketch(ops.RELU, sketch(ops.RESHAPE, Ref("x"), (-1, 2, 3))))
    assert cost(graph, 10) == Cost(60, 2 * 4 * 60)


def test_einsum_costs_what_the_product_of_its_letters_is():
    sketch = Sketch(dense(c=6))
    pair = (sketch(ops.RESHAPE, Ref("x"), (-1, 2, 3)), sketch(ops.RESHAPE, Ref("x"), (-1, 3, 2)))
    graph = sketch.graph(sketch(ops.EINSUM, "bij,bjk->bik", pair))
    assert cost(graph, 10).flops == 2 * 10 * 2 * 3 * 2


def test_what_is_computed_once_per_request_counts_once():
    sketch = Sketch(dense(u=6))
    graph = sketch.graph(sketch.linear(Ref("x"), 4))
    assert cost(hoist(graph)[0], 10).flops == 2 * 6 * 4


def test_costs_are_told_in_short():
    assert str(Cost(1_234_567, 890)) == "1.23 MFLOP, 890 B"
    assert str(Cost(2_000_000_000, -45_600)) == "2.00 GFLOP, -45.60 kB"
