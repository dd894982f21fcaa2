"""Cheaper equivalents: small, exact rewrites of one operation, each a function of its own in ``EQUIVALENTS``."""

from collections import Counter
from collections.abc import Callable

import torch

from larix.compile import ops
from larix.compile.graph import Graph, Node, Ref
from larix.compile.run import Shape
from larix.compile.writer import Writer, rewritten


def same_dtype(node: Node, writer: Writer) -> Ref | None:
    """A conversion to the dtype it has."""
    if node.op != ops.TO_COPY or {name for name, _ in node.kwargs} - {"dtype"}:
        return None
    source: Ref = node.args[0]
    return source if writer.shape(source).dtype == dict(node.kwargs).get("dtype") else None


def same_shape(node: Node, writer: Writer) -> Ref | None:
    """A view, slice or expand of all, as it is; a cat or stack of one."""
    if node.op == ops.CAT and len(node.args[0]) == 1:
        only: Ref = node.args[0][0]
        return only
    if node.op not in (ops.RESHAPE, ops.SLICE, ops.EXPAND):
        return None
    if node.op == ops.SLICE and ops.argument(node, 4, "step", 1) != 1:
        return None
    source: Ref = node.args[0]
    trial = writer.add(node.op, *node.args, kwargs=node.kwargs, like=node)
    return source if writer.shape(trial) == writer.shape(source) else None


def twice(node: Node, writer: Writer) -> Ref | None:
    """relu(relu(x)), not(not(x)), x masked twice by the same."""
    inner = writer.node(node.args[0]) if node.args else None
    if inner is None or inner.op != node.op:
        return None
    if node.op == ops.RELU or (ops.stem(node.op) == "masked_fill" and inner.args[1:] == node.args[1:]):
        return Ref(inner.name)
    if (
        ops.stem(node.op) in {"bitwise_not", "logical_not"}
        and writer.shape(Ref(inner.name)).dtype == torch.bool
    ):
        source: Ref = inner.args[0]
        return source if writer.shape(source).dtype == torch.bool else None
    return None


def neutral(node: Node, writer: Writer) -> Ref | None:
    """x + 0, x - 0, x * 1, x / 1 of floats; -0.0 + 0 becomes -0.0."""
    is_number = len(node.args) == 2 and isinstance(node.args[1], int | float) and not node.kwargs
    if not is_number or ops.stem(node.op) not in {"add", "sub", "mul", "div"}:
        return None
    source: Ref = node.args[0]
    idle = 0 if ops.stem(node.op) in {"add", "sub"} else 1
    return source if node.args[1] == idle and writer.shape(source).dtype.is_floating_point else None


def slice_of_cat(node: Node, writer: Writer) -> Ref | None:
    """A slice that falls on one or more whole parts of a cat, along its axis: those parts."""
    joined = writer.node(node.args[0]) if node.op == ops.SLICE else None
    if joined is None or joined.op != ops.CAT or ops.argument(node, 4, "step", 1) != 1:
        return None
    shape: Shape = writer.shape(Ref(joined.name))
    dim = ops.axis(ops.argument(joined, 1, "dim", 0), len(shape))
    if ops.axis(ops.argument(node, 1, "dim", 0), len(shape)) != dim:
        return None
    length = shape[dim]
    if not isinstance(length, int):
        return None
    start, end = ops.span(node, length)
    at, parts, bounds = 0, [], set()
    for part in joined.args[0]:
        bounds.add(at)
        width = writer.shape(part)[dim]
        if start <= at and at + width <= end:
            parts.append(part)
        at += width
    bounds.add(at)
    if not parts or start not in bounds or end not in bounds:
        return None
    return parts[0] if len(parts) == 1 else writer.add(ops.CAT, tuple(parts), dim, like=node)


def slice_of_slice(node: Node, writer: Writer) -> Ref | None:
    """A slice of a slice along one axis: one slice."""
    inner = writer.node(node.args[0]) if node.op == ops.SLICE else None
    if inner is None or inner.op != ops.SLICE:
        return None
    outer_step, inner_step = ops.argument(node, 4, "step", 1), ops.argument(inner, 4, "step", 1)
    source: Shape = writer.shape(inner.args[0])
    dims = [ops.axis(ops.argument(each, 1, "dim", 0), len(source)) for each in (node, inner)]
    if dims[0] != dims[1] or (outer_step, inner_step) != (1, 1):
        return None
    length = source[dims[0]]
    if not isinstance(length, int):
        return None
    first, last = ops.span(inner, length)
    start, end = ops.span(node, last - first)
    return writer.add(ops.SLICE, inner.args[0], dims[0], first + start, first + end, like=node)


def select_of_stack(node: Node, writer: Writer) -> Ref | None:
    """One of the parts of a stack: that part."""
    stacked = writer.node(node.args[0]) if node.op == ops.SELECT else None
    if stacked is None or stacked.op != ops.STACK:
        return None
    dims = len(writer.shape(Ref(stacked.name)))
    if ops.axis(node.args[1], dims) != ops.axis(ops.argument(stacked, 1, "dim", 0), dims):
        return None
    part: Ref = stacked.args[0][node.args[2]]
    return part


def picked_in_a_row(node: Node, writer: Writer) -> Ref | None:
    """Columns picked by constant numbers that lie side by side: a slice, which costs nothing."""
    if node.op != ops.INDEX or node.args[1][:-1] != (None,) * (len(node.args[1]) - 1):
        return None
    picked = writer.constant(node.args[1][-1])
    if picked is None or picked.dim() != 1 or picked.dtype != torch.int64 or len(picked) == 0:
        return None
    first, count = int(picked[0]), len(picked)
    if first < 0 or not torch.equal(picked, torch.arange(first, first + count)):
        return None
    return writer.add(ops.SLICE, node.args[0], len(node.args[1]) - 1, first, first + count, like=node)


EQUIVALENTS: tuple[Callable[[Node, Writer], Ref | None], ...] = (
    same_dtype,
    same_shape,
    twice,
    neutral,
    slice_of_cat,
    slice_of_slice,
    select_of_stack,
    picked_in_a_row,
)


def cheaper(graph: Graph) -> tuple[Graph, list[str]]:
    """Put each operation's first equivalent in its place."""
    found: Counter[str] = Counter()

    def rewrite(node: Node, writer: Writer) -> Ref | None:
        for equivalent in EQUIVALENTS:
            result = equivalent(node, writer)
            if result is not None:
                found[equivalent.__name__.replace("_", " ")] += 1
                return result
        return None

    graph, _ = rewritten(graph, rewrite)
    return graph, [f"{name} ({count})" for name, count in found.items()]
