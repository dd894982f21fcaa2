"""A graph carried out by torch, node by node: the oracle of every rule and back-end, and shapes without any work.

Knows nothing of rules.
"""

import operator
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from larix.compile.graph import Graph, Input, Node, Ref, Rows, Size

_MANY = 1_000_003  # rows to find shapes with: a prime beyond any width, so that sizes that count rows are told by it


@cache
def _function(op: str) -> Callable[..., Any]:
    if op == "getitem":
        return operator.getitem
    library, name, overload = op.split(".")
    found: Callable[..., Any] = getattr(getattr(getattr(torch.ops, library), name), overload)
    return found


def apply(node: Node, values: Mapping[str, Any], rows: int, requests: int = 1) -> Any:
    """What ``node`` makes of ``values``, with ``rows`` candidates of ``requests`` requests."""
    rows = requests if node.per_request else rows

    def real(value: Any) -> Any:
        if isinstance(value, Ref):
            return values[value.name]
        if isinstance(value, Rows):
            return value.times * rows
        return [real(each) for each in value] if isinstance(value, tuple) else value

    args = [real(each) for each in node.args]
    return _function(node.op)(*args, **{name: real(value) for name, value in node.kwargs})


def run(graph: Graph, inputs: Mapping[str, Tensor], rows: int, requests: int = 1) -> dict[str, Tensor]:
    """The outputs by name. ``inputs``: by the graph's names, ``rows`` rows each, or ``requests`` of those per request.

    ``requests`` is 1, or ``rows``: every candidate is then of a request of its own, as in a log of samples.
    """
    values = evaluated(graph, inputs, rows, requests)
    return {name: values[of] for name, of in graph.outputs}


def evaluated(graph: Graph, inputs: Mapping[str, Tensor], rows: int, requests: int = 1) -> dict[str, Any]:
    """All values by name: inputs, weights and nodes; see ``run``."""
    assert requests in (1, rows)
    values: dict[str, Any] = {**graph.weights, **inputs}
    with torch.no_grad():
        for node in graph.nodes:
            values[node.name] = apply(node, values, rows, requests)
    return values


class Shape(tuple[Size, ...]):
    """The sizes of a value, with its ``dtype``."""

    dtype: torch.dtype

    @property
    def by_row(self) -> bool:
        """Whether its first axis counts rows and no other does."""
        return bool(self) and self[0] == Rows(1) and not any(isinstance(size, Rows) for size in self[1:])


class Shapes:
    """The Shape of every value of a graph in the making, found on torch's meta device: nothing is computed."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def input(self, each: Input) -> None:
        """Take an input in."""
        self._values[each.name] = _placeholder(each)

    def weight(self, name: str, value: Tensor) -> None:
        """Take a weight in."""
        self._values[name] = value.to("meta")

    def node(self, node: Node) -> None:
        """Take a node in that reads only what is known."""
        if "fake_quantize" in node.op:  # torch has no meta kernel of it; it keeps shape and dtype
            self._values[node.name] = self._values[node.args[0].name]
            return
        with torch.no_grad():
            self._values[node.name] = apply(_on_meta(node), self._values, _MANY)

    def __getitem__(self, name: str) -> Any:
        return _shape(self._values[name])


def shapes(graph: Graph) -> dict[str, Any]:
    """The Shape of every value; a tuple of them for a node that returns several."""
    found = Shapes()
    for each in graph.inputs:
        found.input(each)
    for name, value in graph.weights.items():
        found.weight(name, value)
    for node in graph.nodes:
        found.node(node)
    names = [each.name for each in graph.inputs] + [node.name for node in graph.nodes] + list(graph.weights)
    return {name: found[name] for name in names}


def _placeholder(each: Input) -> Tensor:
    rows = 1 if each.per_request else _MANY
    sizes = [size.times * rows if isinstance(size, Rows) else size for size in each.shape]
    return torch.empty(sizes, dtype=each.dtype, device="meta")


def _on_meta(node: Node) -> Node:
    kwargs = tuple((name, value) for name, value in node.kwargs if name != "device")
    made_here = next(node.refs(), None) is None
    device = (("device", "meta"),) if made_here else ()
    return Node(node.name, node.op, node.args, (*kwargs, *device), node.where, node.per_request)


def _shape(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return tuple(_shape(each) for each in value)
    found = Shape(Rows(size // _MANY) if size and size % _MANY == 0 else size for size in value.shape)
    found.dtype = value.dtype
    return found


class GraphModule(nn.Module):
    """The graph as a module of tensors in the order of its inputs: what exporters take.

    ``rows``: of candidates; None: as many as the inputs hold.
    """

    def __init__(self, graph: Graph, rows: int | None) -> None:
        super().__init__()
        self.graph, self.rows = graph, rows
        self._names = {name: f"w{number}" for number, name in enumerate(graph.weights)}
        for name, attribute in self._names.items():
            self.register_buffer(attribute, graph.weights[name])

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The outputs in their order."""
        values: dict[str, Any] = {name: getattr(self, attribute) for name, attribute in self._names.items()}
        values |= {each.name: tensor for each, tensor in zip(self.graph.inputs, tensors, strict=True)}
        rows = self.rows
        if rows is None:
            rows = next(values[each.name].shape[0] for each in self.graph.inputs if not each.per_request)
        for node in self.graph.nodes:
            values[node.name] = apply(node, values, rows)
        return tuple(values[of] for _, of in self.graph.outputs)
