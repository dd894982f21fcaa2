"""Norms into Linears: a batch norm becomes a scale and a shift, and those go into the Linear before or behind.

Equal in exact arithmetic; in floats each result moves by a rounding or two.
"""

from functools import reduce

import torch
from torch import Tensor

from larix.compile import ops
from larix.compile.graph import Graph, Node, Ref
from larix.compile.writer import Rewrite, Writer, rewritten

_BATCH_NORM = "aten._native_batch_norm_legit_no_training.default"


def norms(graph: Graph) -> tuple[Graph, list[str]]:
    """Write norms as scales and shifts where a Linear can take these, then let it."""
    notes: list[str] = []
    readers = graph.readers()
    outputs = {of for _, of in graph.outputs}

    def alone(name: str) -> bool:
        return name not in outputs and len(readers.get(name, ())) == 1

    def only_linears(name: str) -> bool:
        return name not in outputs and all(
            each.op == ops.LINEAR and each.args[0] == Ref(name) for each in readers.get(name, ())
        )

    def opened(node: Node, writer: Writer) -> Ref | None:
        return _batch_norm(node, writer) or (_layer_norm(node, writer) if only_linears(node.name) else None)

    graph, told = rewritten(graph, opened)
    notes += told
    readers, outputs = graph.readers(), {of for _, of in graph.outputs}
    steps: tuple[Rewrite, ...] = (
        lambda node, writer: _linear_then_affine(node, writer, alone),
        lambda node, writer: _affine_then_linear(node, writer),
    )
    for step in steps:
        graph, told = rewritten(graph, step)
        notes += told
        readers = graph.readers()
    return graph, notes


def _batch_norm(node: Node, writer: Writer) -> Ref | None:
    source = writer.node(node.args[0]) if node.op == "getitem" else None
    if (
        source is None
        or source.op != _BATCH_NORM
        or node.args[1] != 0
        or len(writer.shape(source.args[0])) != 2
    ):
        return None
    weight, bias, mean, variance = (writer.constant(each) for each in source.args[1:5])
    if mean is None or variance is None:
        return None
    scale = torch.rsqrt(variance.double() + source.args[6]) * (1.0 if weight is None else weight.double())
    shift = (0.0 if bias is None else bias.double()) - mean.double() * scale
    scaled = writer.add(ops.MUL, source.args[0], writer.weight("scale", scale.to(mean.dtype)), like=node)
    writer.notes.append(f"batch norm of {node.where}: a scale and a shift")
    return writer.add(ops.ADD, scaled, writer.weight("shift", shift.to(mean.dtype)), like=node)


def _layer_norm(node: Node, writer: Writer) -> Ref | None:
    if node.op != ops.LAYER_NORM or len(node.args) < 3 or len(node.args[1]) != 1:
        return None
    weight = writer.constant(node.args[2])
    bias = writer.constant(node.args[3]) if len(node.args) > 3 else None
    if weight is None or (torch.equal(weight, torch.ones_like(weight)) and bias is None):
        return None
    plain = writer.add(ops.LAYER_NORM, node.args[0], node.args[1], None, None, *node.args[4:], like=node)
    writer.notes.append(f"layer norm of {node.where}: its scale and shift go into the Linear behind")
    scaled = writer.add(ops.MUL, plain, node.args[2], like=node)
    return scaled if bias is None else writer.add(ops.ADD, scaled, node.args[3], like=node)


def _vector(writer: Writer, value: object, width: int) -> Tensor | None:
    """A weight that scales or shifts columns."""
    found = writer.constant(value)
    return found if found is not None and found.dim() == 1 and found.shape[0] in (1, width) else None


def _linear_then_affine(node: Node, writer: Writer, alone: object) -> Ref | None:
    """``linear(x) * s + t`` -> a Linear, if nobody else reads the first."""
    linear = writer.node(node.args[0]) if node.op in (ops.MUL, ops.ADD) and not node.kwargs else None
    if linear is None or linear.op != ops.LINEAR or not callable(alone) or not alone(linear.name):
        return None
    weight = writer.constant(linear.args[1])
    bias = writer.constant(linear.args[2]) if len(linear.args) > 2 else None
    vector = None if weight is None else _vector(writer, node.args[1], weight.shape[0])
    if (
        weight is None
        or vector is None
        or (len(linear.args) > 2 and linear.args[2] is not None and bias is None)
    ):
        return None
    zeros = torch.zeros(weight.shape[0], dtype=weight.dtype)
    if node.op == ops.MUL:
        weight, bias = weight * vector[:, None], None if bias is None else bias * vector
    else:
        bias = (zeros if bias is None else bias) + vector
    writer.notes.append(f"{node.where}: into the Linear before it")
    refs = (writer.weight("weight", weight), None if bias is None else writer.weight("bias", bias))
    # Under the name of the one it takes the place of, so that the next scale or shift finds it read once.
    return writer.put(Node(node.name, ops.LINEAR, (linear.args[0], *refs), (), node.where, node.per_request))


def _affine_then_linear(node: Node, writer: Writer) -> Ref | None:
    """``linear(x * s + t)`` -> a Linear of x."""
    if node.op != ops.LINEAR:
        return None
    weight = writer.constant(node.args[1])
    bias = writer.constant(node.args[2]) if len(node.args) > 2 else None
    if weight is None or (len(node.args) > 2 and node.args[2] is not None and bias is None):
        return None
    source, chain = node.args[0], []
    while (inner := writer.node(source)) is not None and inner.op in (ops.MUL, ops.ADD) and not inner.kwargs:
        vector = _vector(writer, inner.args[1], weight.shape[1])
        if vector is None:
            break
        chain.append((inner.op, vector.expand(weight.shape[1])))
        source = inner.args[0]
    if not chain:
        return None

    def take(state: tuple[Tensor, Tensor | None], step: tuple[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        (w, b), (op, vector) = state, step
        if op == ops.MUL:
            return w * vector, b
        shifted = (w.double() @ vector.double()).to(w.dtype)
        return w, shifted if b is None else b + shifted

    weight, bias = reduce(take, chain, (weight, bias))
    writer.notes.append(f"{node.where}: takes {len(chain)} scales and shifts before it")
    return writer.add(
        ops.LINEAR,
        source,
        writer.weight("weight", weight),
        None if bias is None else writer.weight("bias", bias),
        like=node,
    )
