import json
import math

import pytest
import torch
from hypothesis import given, settings
from nets import Sketch, dense, graphs

from larix.compile.graph import Node, Ref, Rows, from_json, pruned, refs_in, to_json
from larix.errors import StorageError


@settings(max_examples=30, deadline=None)
@given(graphs())
def test_a_graph_comes_back_from_json_as_it_was(graph):
    again = from_json(json.loads(json.dumps(to_json(graph))), graph.weights)
    assert (again.inputs, again.nodes, again.outputs) == (graph.inputs, graph.nodes, graph.outputs)


def test_every_kind_of_argument_survives_json_exactly():
    args = (Ref("x"), (Rows(2), -1), 0.1, -math.inf, 2**63 - 1, True, None, "bhd,blhd->bhl", torch.bfloat16)
    node = Node("n", "op", args, (("dtype", torch.int64),), "where", True)
    sketch = Sketch(dense(c=2))
    graph = type(sketch.graph())(sketch.writer.inputs[0:1], (node,), (("output", "n"),), {})
    (again,) = from_json(json.loads(json.dumps(to_json(graph))), {}).nodes
    assert again == node
    assert again.args[5] is True


@pytest.mark.parametrize("break_it", [
    lambda held: held.pop("nodes"),
    lambda held: held["nodes"][0].pop(),
    lambda held: held["nodes"][0].__setitem__(2, [{"ref": "nobody"}]),
    lambda held: held["nodes"][0].__setitem__(2, [{"code": "x"}]),
    lambda held: held["nodes"][0].__setitem__(2, [{"dtype": "nn"}]),
])  # fmt: skip
def test_what_is_no_graph_is_refused(break_it):
    sketch = Sketch(dense(c=2))
    held = to_json(sketch.graph(sketch("aten.relu.default", Ref("x"))))
    break_it(held)
    with pytest.raises(StorageError, match="compile it again"):
        from_json(held, {})


def test_what_no_output_needs_goes_and_inputs_stay():
    sketch = Sketch(dense(c=2))
    kept = sketch.linear(Ref("x"), 2)
    sketch.linear(Ref("x"), 3)
    graph = pruned(sketch.graph(kept))
    assert [node.name for node in graph.nodes] == [kept.name]
    assert len(graph.weights) == 2
    assert [each.name for each in pruned(sketch.graph()).inputs] == ["x"]


def test_refs_are_found_however_deep():
    assert list(refs_in((Ref("a"), (1, (Ref("b"),)), None))) == ["a", "b"]
