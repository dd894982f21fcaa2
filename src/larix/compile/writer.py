"""Writing a new graph while reading an old one: what every rule does. Knows no rule."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from larix.compile.graph import Graph, Input, Node, Ref, mapped, pruned
from larix.compile.run import Shapes


class Writer:
    """A graph in the making. ``notes`` are what the rule has to tell of what it did, one line each."""

    def __init__(self, graph: Graph) -> None:
        self.inputs: list[Input] = list(graph.inputs)
        self.nodes: list[Node] = []
        self.weights: dict[str, Tensor] = dict(graph.weights)
        self.notes: list[str] = []
        self._given: dict[str, Node] = {}
        self._shapes = Shapes()
        for each in graph.inputs:
            self._shapes.input(each)
        for name, value in graph.weights.items():
            self._shapes.weight(name, value)
        self._taken = (
            {each.name for each in graph.inputs} | {node.name for node in graph.nodes} | set(graph.weights)
        )

    def add(
        self,
        op: str,
        *args: Any,
        kwargs: tuple[tuple[str, Any], ...] = (),
        like: Node,
        per_request: bool | None = None,
    ) -> Ref:
        """A new node; ``like`` says where it comes from, and its level unless ``per_request`` is given."""
        level = like.per_request if per_request is None else per_request
        return self.put(Node(self._fresh(like.name), op, args, kwargs, like.where, level))

    def put(self, node: Node) -> Ref:
        """A node under its own name."""
        self.nodes.append(node)
        self._shapes.node(node)
        self._given[node.name] = node
        return Ref(node.name)

    def weight(self, hint: str, value: Tensor) -> Ref:
        """A new weight."""
        name = self._fresh(hint)
        self.weights[name] = value.detach().contiguous()
        self._shapes.weight(name, value)
        return Ref(name)

    def node(self, value: Any) -> Node | None:
        """The new graph's node behind a Ref; None if it is an input, a weight or no Ref."""
        return self._given.get(value.name) if isinstance(value, Ref) else None

    def constant(self, value: Any) -> Tensor | None:
        """The weight behind a Ref, if it is one."""
        return self.weights.get(value.name) if isinstance(value, Ref) else None

    def shape(self, value: Ref) -> Any:
        """Its Shape; a tuple of them if it is of a node that returns several."""
        return self._shapes[value.name]

    def feed(self, each: Input) -> Ref:
        """A new input."""
        self.inputs.append(each)
        self._shapes.input(each)
        return Ref(each.name)

    def finish(self, outputs: tuple[tuple[str, str], ...]) -> Graph:
        """The graph, without what no output depends on."""
        return pruned(Graph(tuple(self.inputs), tuple(self.nodes), outputs, self.weights))

    def _fresh(self, hint: str) -> str:
        stem = hint.partition("~")[0]
        number = 1
        while f"{stem}~{number}" in self._taken:
            number += 1
        self._taken.add(f"{stem}~{number}")
        return f"{stem}~{number}"


def replaced(node: Node, by: Mapping[str, Ref]) -> Node:
    """``node`` reading ``by[name]`` where it read ``name``."""

    def change(value: Any) -> Any:
        return by.get(value.name, value) if isinstance(value, Ref) else value

    return Node(
        node.name,
        node.op,
        mapped(node.args, change),
        mapped(node.kwargs, change),
        node.where,
        node.per_request,
    )


Rewrite = Callable[[Node, Writer], Ref | None]


def rewritten(graph: Graph, rewrite: Rewrite) -> tuple[Graph, list[str]]:
    """Ask ``rewrite`` of every node, in order, for what to read in its place; None keeps it.

    The node it is asked about reads what came of earlier nodes. Returns the graph and the notes.
    """
    writer = Writer(graph)
    by: dict[str, Ref] = {}
    for old in graph.nodes:
        node = replaced(old, by)
        found = rewrite(node, writer)
        if found is None:
            writer.put(node)
        else:
            by[old.name] = found
    outputs = tuple((name, by.get(of, Ref(of)).name) for name, of in graph.outputs)
    return writer.finish(outputs), writer.notes


def same_tensor(a: Tensor, b: Tensor) -> bool:
    """Whether two weights are equal in shape, dtype and every value."""
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
