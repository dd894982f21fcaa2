"""The graph that rules rewrite: immutable nodes in order, each one ATen operation; sizes that count rows say so.

Knows how to write and read itself as JSON and tensors; knows nothing of rules or back-ends.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from larix.errors import StorageError


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of that name: an input, a weight or a node."""

    name: str


@dataclass(frozen=True, slots=True)
class Rows:
    """A size of ``times`` as many as there are rows: of candidates, or 1 where a node is computed once per request."""

    times: int = 1


Size = int | Rows


@dataclass(frozen=True, slots=True)
class Column:
    """``width`` columns side by side along an input's last axis; ``per_request``: alike for all candidates of a request."""

    name: str
    width: int
    per_request: bool


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor that a request brings. Its first size is Rows(1); its columns lie along the last axis.

    ``per_request``: it holds one row for a request, whatever the number of candidates; before hoisting no input does.
    """

    name: str
    shape: tuple[Size, ...]
    dtype: torch.dtype
    columns: tuple[Column, ...]
    per_request: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """One operation, by its ATen name, as ``aten.linear.default``, or ``getitem`` of one that returns several values.

    ``args`` and ``kwargs`` hold Ref, Rows, numbers, text, None, dtypes and tuples of these. ``where``: the module
    and line it was captured from. ``per_request``: computed once per request, on one row.
    """

    name: str
    op: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...] = ()
    where: str = ""
    per_request: bool = False

    def refs(self) -> Iterator[str]:
        """Names of the values it reads, in order, with repeats."""
        yield from refs_in((self.args, tuple(value for _, value in self.kwargs)))


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Inputs and weights, nodes in an order that they can be computed in, and the outputs by name."""

    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[tuple[str, str], ...]  # (name, the value's name)
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    def input(self, name: str) -> Input:
        """The input of that name."""
        return next(each for each in self.inputs if each.name == name)

    def readers(self) -> dict[str, list[Node]]:
        """Value -> the nodes that read it."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.refs()):
                found.setdefault(name, []).append(node)
        return found


def refs_in(value: Any) -> Iterator[str]:
    """Names of all Refs in nested ``value``."""
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, tuple):
        for each in value:
            yield from refs_in(each)


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """``value`` with ``change`` done to all that is no tuple."""
    if isinstance(value, tuple):
        return tuple(mapped(each, change) for each in value)
    return change(value)


def pruned(graph: Graph) -> Graph:
    """The graph without nodes and weights that no output depends on. Inputs stay: they are what callers know."""
    needed = {name for _, name in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if node.name in needed:
            kept.append(node)
            needed.update(node.refs())
    weights = {name: value for name, value in graph.weights.items() if name in needed}
    return Graph(graph.inputs, tuple(reversed(kept)), graph.outputs, weights)


def to_json(graph: Graph) -> dict[str, Any]:
    """The graph without its weights, as what JSON can hold."""
    return {
        "inputs": [
            {
                "name": each.name,
                "shape": _plain(each.shape),
                "dtype": _plain(each.dtype),
                "columns": [[column.name, column.width, column.per_request] for column in each.columns],
                "per_request": each.per_request,
            }
            for each in graph.inputs
        ],
        "nodes": [
            [node.name, node.op, _plain(node.args), _plain(node.kwargs), node.where, node.per_request]
            for node in graph.nodes
        ],
        "outputs": [list(pair) for pair in graph.outputs],
    }


def from_json(value: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Graph:
    """What ``to_json`` gave, with its weights again. StorageError if it is something else."""
    try:
        inputs = tuple(
            Input(
                name=each["name"],
                shape=_rich(each["shape"]),
                dtype=_rich(each["dtype"]),
                columns=tuple(Column(*column) for column in each["columns"]),
                per_request=each["per_request"],
            )
            for each in value["inputs"]
        )
        nodes = tuple(
            Node(name, op, _rich(args), _rich(kwargs), where, per_request)
            for name, op, args, kwargs, where, per_request in value["nodes"]
        )
        outputs = tuple((name, of) for name, of in value["outputs"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StorageError(f"this is no graph: {error!r}; compile it again") from error
    graph = Graph(inputs, nodes, outputs, dict(weights))
    _check_whole(graph)
    return graph


def _check_whole(graph: Graph) -> None:
    known = {each.name for each in graph.inputs} | set(graph.weights)
    for node in graph.nodes:
        missing = set(node.refs()) - known
        if missing:
            raise StorageError(
                f"graph node '{node.name}' reads {sorted(missing)}, which is not there; compile it again"
            )
        known.add(node.name)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Ref):
        return {"ref": value.name}
    if isinstance(value, Rows):
        return {"rows": value.times}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, float):
        return {"float": value.hex()}  # exact, and JSON has no infinity
    return value


def _rich(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_rich(each) for each in value)
    if isinstance(value, dict):
        ((kind, inner),) = value.items()
        if kind == "float":
            return float.fromhex(inner)
        if kind == "dtype":
            dtype = getattr(torch, inner)
            if not isinstance(dtype, torch.dtype):
                raise ValueError(f"{inner} is no dtype")
            return dtype
        return {"ref": Ref, "rows": Rows}[kind](inner)
    return value
