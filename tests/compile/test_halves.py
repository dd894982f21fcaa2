import numpy as np
import pytest
import torch
from hypothesis import given, settings
from nets import Sketch, dense, experts, feed, graphs, ops_of, outputs
from test_ranker import ranker, sample

from larix.compile import capture, capture_ranker, ops, optimise
from larix.compile.feeds import parts_of
from larix.compile.graph import Column, Input, Ref, Rows
from larix.compile.halves import lifted, split
from larix.compile.rules import hoist

X = Ref("x")


def sequence(user=True):
    return Input("s", (Rows(1), 3, 4), torch.float32, (Column("s", 4, user),))


def in_halves(halves, parts, rows):
    """What the halves give for one request, and what the user's half handed over."""
    mine = {each.name: parts[each.name] for each in halves.user.inputs}
    kept = {**parts, **outputs(halves.user, mine, 1)}
    given = {each.name: kept[each.name] for each in halves.candidates.inputs}
    assert all(
        len(given[each.name]) == (1 if each.per_request else rows) for each in halves.candidates.inputs
    )
    return outputs(halves.candidates, given, rows), given


def together(halves, requests, sizes):
    """What the lifted half gives for several requests in one run."""
    given = [in_halves(halves, parts, rows)[1] for parts, rows in zip(requests, sizes, strict=True)]
    whole = {
        each.name: np.concatenate(
            [np.broadcast_to(one[each.name], (rows, *one[each.name].shape[1:])) for one, rows in zip(given, sizes, strict=True)]
        )
        for each in halves.candidates.inputs
    }  # fmt: skip
    form = lifted(halves.candidates)
    assert not any(each.per_request for each in (*form.inputs, *form.nodes))
    return outputs(form, whole, sum(sizes))


def assert_halves_equal(captured, hoisted, sizes=(5, 1, 3), tolerance=1e-5):
    halves = split(hoisted)
    assert not any(each.per_request for each in (*halves.user.inputs, *halves.user.nodes))
    assert all(set(each.weights) <= set(hoisted.weights) for each in (halves.user, halves.candidates))
    requests = [
        parts_of(captured.inputs, hoisted, feed(captured, rows, seed)) for seed, rows in enumerate(sizes)
    ]
    alone = [outputs(hoisted, parts, rows) for parts, rows in zip(requests, sizes, strict=True)]
    for parts, rows, expected in zip(requests, sizes, alone, strict=True):
        found, _ = in_halves(halves, parts, rows)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
    for name, value in together(halves, requests, sizes).items():
        expected = np.concatenate([each[name] for each in alone])
        np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance)


@settings(max_examples=50, deadline=None)
@given(graphs())
def test_the_halves_of_any_graph_give_its_bits_and_the_lifted_half_gives_its_values(graph):
    assert_halves_equal(graph, hoist(graph)[0], tolerance=1e-4)


@settings(max_examples=15, deadline=None)
@given(graphs())
def test_the_halves_of_any_optimised_graph_do_too(graph):
    assert_halves_equal(graph, optimise(graph)[0], tolerance=1e-4)


def test_the_halves_of_experts_and_gates_give_what_the_net_gives():
    levels = {"x": [("u", 8, True), ("c", 4, False)]}
    graph = capture(experts(), {"x": torch.randn(4, 12)}, per_request=levels)
    assert_halves_equal(graph, optimise(graph)[0])


def test_a_rankers_history_is_computed_in_the_users_half_alone():
    graph = capture_ranker(sample(), ranker(), ["user", "history"])
    hoisted = optimise(graph)[0]
    assert_halves_equal(graph, hoisted)
    halves = split(hoisted)
    assert {each.name for each in halves.user.inputs} >= {"joined.request", "history.rows", "history.dense"}
    theirs = {each.name for each in halves.candidates.inputs}
    assert not theirs & {"history.rows", "history.dense"}
    assert "joined.request" in theirs  # the scene's gate scales each column by the candidate's
    user, candidates = ({node.name for node in each.nodes} for each in (halves.user, halves.candidates))
    assert not {node.name for node in hoisted.nodes if not ops.is_view(node.op)} & user & candidates


def test_several_requests_are_a_row_each_in_the_users_half():
    graph = capture_ranker(sample(), ranker(), ["user", "history"])
    hoisted = optimise(graph)[0]
    half = split(hoisted).user
    parts = parts_of(graph.inputs, hoisted, feed(graph, 4, requests=4), each=True)
    mine = {each.name: parts[each.name] for each in half.inputs}
    alone = [outputs(half, {name: each[row : row + 1] for name, each in mine.items()}, 1) for row in range(4)]
    for name, value in outputs(half, mine, 4).items():
        np.testing.assert_allclose(
            value, np.concatenate([each[name] for each in alone]), rtol=1e-5, atol=1e-5
        )


def handed(graph):
    hoisted, _ = hoist(graph)
    assert_halves_equal(graph, hoisted)
    halves = split(hoisted)
    wide = {each.name: each.shape[1:] for each in halves.candidates.inputs if each.per_request}
    return halves, wide


@pytest.mark.parametrize(("starts", "kept"), [((0, 4), [(4,), (4,)]), ((0, 2, 4), [(8,)])])
def test_views_that_overlap_are_handed_over_as_what_they_are_views_of(starts, kept):
    sketch = Sketch(dense(u1=5, c1=4))
    both = sketch(ops.RELU, sketch.linear(sketch(ops.SLICE, X, 1, 0, 5), 8))
    views = [sketch(ops.SLICE, both, 1, at, at + 4) for at in starts]
    mine = sketch(ops.SLICE, X, 1, 5, 9)
    cut, wide = handed(sketch.graph(*(sketch(ops.MUL, mine, view) for view in views)))
    assert list(wide.values()) == kept
    assert [ops_of(cut.user).count("slice"), ops_of(cut.candidates).count("slice")] in ([2, 0], [0, 3])


def test_a_view_beside_a_reader_of_the_whole_takes_nothing_more():
    sketch = Sketch(dense(u1=5, c1=4))
    whole = sketch(ops.RELU, sketch.linear(sketch(ops.SLICE, X, 1, 0, 5), 4))
    mine = sketch(ops.SLICE, X, 1, 5, 9)
    gate = sketch(ops.SLICE, whole, 1, 0, 1)
    _, wide = handed(sketch.graph(sketch(ops.MUL, mine, whole), sketch(ops.MUL, mine, gate)))
    assert list(wide.values()) == [(4,)]


def test_a_small_part_of_a_large_value_is_handed_over_alone():
    sketch = Sketch(sequence(), dense(c1=4))
    last = sketch(ops.SELECT, sketch(ops.RELU, Ref("s")), 1, 2)
    cut, wide = handed(sketch.graph(sketch(ops.MUL, X, last)))
    assert list(wide.values()) == [(4,)]
    assert ops_of(cut.candidates) == ["mul"]


def test_a_value_that_is_spread_out_is_handed_over_as_it_was():
    sketch = Sketch(sequence(), dense(c1=4))
    total = sketch(ops.UNSQUEEZE, sketch("aten.sum.dim_IntList", Ref("s"), (1,)), 1)
    spread = sketch(ops.EXPAND, total, (-1, 6, -1))
    graph = sketch.graph(sketch(ops.MUL, sketch(ops.UNSQUEEZE, X, 1), spread))
    assert list(handed(graph)[1].values()) in ([(4,)], [(1, 4)])


def test_an_input_that_candidates_read_as_it_is_takes_no_way_through_the_users_half():
    sketch = Sketch(sequence(), dense(c1=4))
    scores = sketch(ops.EINSUM, "bd,bld->bl", (X, Ref("s")))
    cut, wide = handed(sketch.graph(scores))
    assert wide == {"s": (3, 4)}
    assert not cut.user.inputs
    assert not cut.user.outputs


def test_what_reads_weights_alone_stays_with_whoever_reads_it():
    sketch = Sketch(dense(u1=5, c1=5))
    bias = sketch("aten.sigmoid.default", sketch.weight(5))
    mine, theirs = (sketch(ops.SLICE, X, 1, at, at + 5) for at in (0, 5))
    user = sketch(ops.RELU, sketch(ops.ADD, mine, bias))
    graph = sketch.graph(sketch(ops.MUL, sketch(ops.ADD, theirs, bias), user))
    cut, wide = handed(graph)
    assert list(wide.values()) == [(5,)]
    assert [ops_of(each).count("sigmoid") for each in (cut.user, cut.candidates)] == [1, 1]


def test_a_graph_without_a_request_is_all_the_candidates():
    sketch = Sketch(dense(c1=5))
    graph = sketch.graph(sketch.linear(X, 2))
    cut, wide = handed(graph)
    assert not wide
    assert not cut.user.nodes
    assert ops_of(cut.candidates) == ["linear"]


@pytest.mark.parametrize("op", ["aten.split_with_sizes.default", "aten.unbind.int"])
def test_operations_that_return_several_values_are_cut_at_their_values(op):
    sketch = Sketch(dense(u1=6), sequence(user=False))
    more = ((2, 4), 1) if "split" in op else (1,)
    source = (
        sketch(ops.RELU, X) if "split" in op else sketch("aten.unflatten.int", sketch(ops.RELU, X), 1, (2, 3))
    )
    several = sketch(op, source, *more)
    first = sketch("getitem", several, 0)
    width = sketch.writer.shape(first)[-1]
    mine = sketch(ops.SLICE, sketch(ops.SELECT, Ref("s"), 1, 0), 1, 0, width)
    _, wide = handed(sketch.graph(sketch(ops.MUL, mine, first)))
    assert list(wide.values()) == [(width,)]
