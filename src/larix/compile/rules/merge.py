"""Parallel Linears of one input become one: the input is read once, and one wide product runs faster than many narrow."""

from collections.abc import Sequence

import torch

from larix.compile import ops
from larix.compile.graph import Graph, Node, Ref
from larix.compile.writer import Writer, replaced

_WIDE = 256  # A Linear so wide fills the machine alone; joined, its results would have to be cut apart again, which copies.


def merge(graph: Graph) -> tuple[Graph, list[str]]:
    """Join Linears that read the same value and go into the same activation, which is then done once on all.

    Weights are put below each other, so every result is the same sum of the same products.
    """
    readers, outputs = graph.readers(), {of for _, of in graph.outputs}
    groups = _groups(graph, readers, outputs)
    if not groups:
        return graph, []
    first = {group[0].name: group for group in groups}
    waiting = {node.name for group in groups for node in group}
    writer = Writer(graph)
    by: dict[str, Ref] = {}
    for old in graph.nodes:
        if old.name in by:
            continue
        if old.name in first:
            _join(first[old.name], readers, outputs, writer, by)
        elif old.name not in waiting:
            writer.put(replaced(old, by))
    return writer.finish(tuple((name, by.get(of, Ref(of)).name) for name, of in graph.outputs)), writer.notes


def _groups(graph: Graph, readers: dict[str, list[Node]], outputs: set[str]) -> list[list[Node]]:
    found: dict[tuple[object, ...], list[Node]] = {}
    for node in graph.nodes:
        if node.op == ops.LINEAR and _frozen(graph, node):
            weight = graph.weights[node.args[1].name]
            if len(weight) >= _WIDE and not node.per_request:
                continue
            after = _activation(node, readers, outputs)
            kind = None if after is None else (after.op, repr(after.args[1:]), repr(after.kwargs))
            found.setdefault((node.args[0], weight.dtype, node.per_request, kind), []).append(node)
    return [group for group in found.values() if len(group) > 1]


def _frozen(graph: Graph, node: Node) -> bool:
    return all(
        each is None or (isinstance(each, Ref) and each.name in graph.weights) for each in node.args[1:]
    )


def _join(
    group: Sequence[Node],
    readers: dict[str, list[Node]],
    outputs: set[str],
    writer: Writer,
    by: dict[str, Ref],
) -> None:
    weights = [writer.weights[node.args[1].name] for node in group]
    biases = [
        torch.zeros(len(weight), dtype=weight.dtype)
        if len(node.args) < 3 or node.args[2] is None
        else writer.weights[node.args[2].name]
        for node, weight in zip(group, weights, strict=True)
    ]
    source = replaced(group[0], by).args[0]
    whole = writer.add(
        ops.LINEAR,
        source,
        writer.weight("merged.weight", torch.cat(weights)),
        writer.weight("merged.bias", torch.cat(biases)),
        like=group[0],
    )
    parts = {node.name: len(weight) for node, weight in zip(group, weights, strict=True)}
    names = list(parts)
    activations = [each for node in group if (each := _activation(node, readers, outputs)) is not None]
    told = ""
    if activations:
        op, rest, kwargs = activations[0].op, activations[0].args[1:], activations[0].kwargs
        whole = writer.add(op, whole, *rest, kwargs=kwargs, like=group[0])
        names = [each.name for each in activations]
        told = f" and their {ops.stem(op)}"
    at = 0
    for name, width in zip(names, parts.values(), strict=True):
        by[name] = writer.add(ops.SLICE, whole, -1, at, at + width, like=group[0])
        at += width
    widths = " + ".join(str(width) for width in parts.values())
    writer.notes.append(
        f"{len(group)} Linears of '{source.name}'{told}: one of {widths} columns ({group[0].where}, ...)"
    )


def _activation(node: Node, readers: dict[str, list[Node]], outputs: set[str]) -> Node | None:
    """The only reader of ``node``, if it is unary."""
    after = readers.get(node.name, [])
    if node.name in outputs or len(after) != 1 or not ops.is_unary(after[0].op):
        return None
    return after[0] if after[0].args[0] == Ref(node.name) else None
