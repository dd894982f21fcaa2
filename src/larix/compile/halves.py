"""A hoisted graph cut in two: what is computed once for a request, and what is computed for its candidates from that.

Knows nothing of back-ends, nor of who keeps the first half's results.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from larix.compile import ops
from larix.compile.graph import Column, Graph, Input, Node, Rows, pruned
from larix.compile.rules.cheaper import same_shape
from larix.compile.run import Shape, shapes
from larix.compile.writer import rewritten


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """The two halves; nodes keep the names that they had in the hoisted graph.

    ``user``: a row for each request; it reads what was per request, its outputs bear their values' names. ``candidates``: its
    inputs per request are ``user``'s outputs and those inputs of the whole graph that candidates read as they are; the others
    and the outputs are the whole graph's.
    """

    user: Graph
    candidates: Graph


def split(hoisted: Graph) -> Halves:
    """Cut a hoisted graph between what is per request and what is not.

    Everything per request is the user's, apart from views that are larger than what they show, all together (expanded,
    overlapping, or beside a reader of the whole): that is handed over instead, so that what is kept is small. What depends on
    weights alone goes with whoever reads it.
    """
    known, constants = shapes(hoisted), _constants(hoisted)
    own = {each.name for each in hoisted.inputs if each.per_request}
    own |= {node.name for node in hoisted.nodes if node.per_request and node.name not in constants}
    for node in hoisted.nodes:
        if node.name in own:
            assert set(node.refs()) <= own | constants | set(hoisted.weights), f"{node.name} is not hoisted"
    handed = _handed(hoisted, known, own)

    kept = pruned(replace(hoisted, nodes=tuple(node for node in hoisted.nodes if node.name in own | constants),
                          outputs=tuple((name, name) for name in handed if not _is_input(hoisted, name))))  # fmt: skip
    read = {name for node in kept.nodes for name in node.refs()}
    user = replace(kept, inputs=tuple(each for each in hoisted.inputs if each.name in read))

    inputs = [_boundary(hoisted, name, known[name]) for name in handed]
    inputs += [each for each in hoisted.inputs if not each.per_request]
    nodes = [node for node in hoisted.nodes if node.name not in handed]
    candidates = pruned(Graph(tuple(inputs), tuple(nodes), hoisted.outputs, hoisted.weights))
    return Halves(lifted(user), candidates)


def lifted(graph: Graph) -> Graph:
    """The graph with nothing per request: every input has a row for each row, so that rows of several requests share a run."""
    nodes = tuple(replace(node, per_request=False) for node in graph.nodes)
    inputs = tuple(replace(each, per_request=False) for each in graph.inputs)
    return rewritten(replace(graph, inputs=inputs, nodes=nodes), same_shape)[0]  # rows need no repeating


def _constants(graph: Graph) -> set[str]:
    """Nodes that read weights alone and make no rows."""
    found: set[str] = set()
    for node in graph.nodes:
        if not _has_rows((node.args, node.kwargs)) and set(node.refs()) <= found | set(graph.weights):
            found.add(node.name)
    return found


def _has_rows(value: Any) -> bool:
    return isinstance(value, Rows) or (isinstance(value, tuple) and any(map(_has_rows, value)))


def _handed(graph: Graph, known: Mapping[str, Any], own: set[str]) -> list[str]:
    """The values of ``own`` that the candidates' half is given, in order."""
    nodes = {node.name: node for node in graph.nodes}
    chosen = {name for node in graph.nodes if node.name not in own for name in node.refs() if name in own}
    chosen |= {of for _, of in graph.outputs if of in own}
    order = [each.name for each in graph.inputs if each.name in own]
    order += [node.name for node in graph.nodes if node.name in own]
    for name in reversed(order):
        if not isinstance(known[name], Shape):
            continue  # an operation that returns several: those are values
        views = {each for each in chosen if each != name and name in _shown(each, nodes, own)}
        total, size = sum(_bytes(known[each]) for each in views), _bytes(known[name])
        if views and (size < total or name in chosen):
            chosen = chosen - views | {name}
    return [name for name in order if name in chosen]


def _shown(name: str, nodes: Mapping[str, Node], own: set[str]) -> Iterator[str]:
    """The values that a value is a view of, the nearest first."""
    while name in nodes and ops.is_view(nodes[name].op):
        (name,) = {each for each in nodes[name].refs() if each in own}
        yield name


def _bytes(shape: Shape) -> int:
    return math.prod(size for size in shape if isinstance(size, int)) * shape.dtype.itemsize


def _is_input(graph: Graph, name: str) -> bool:
    return any(each.name == name for each in graph.inputs)


def _boundary(graph: Graph, name: str, shape: Shape) -> Input:
    if _is_input(graph, name):
        return graph.input(name)
    assert shape[0] == 1, f"{name} does not hold one row"
    width = shape[-1] if len(shape) > 1 else 1
    assert isinstance(width, int)
    return Input(name, (Rows(1), *shape[1:]), shape.dtype, (Column(name, width, True),), per_request=True)
