"""Products of every candidate with one matrix of the request's, as in attention over a history: candidates become its rows.

Back-ends carry an einsum out with rows apart, or copy its results into another order and back again before the next one.
"""

from collections.abc import Sequence
from dataclasses import replace

from larix.compile import ops
from larix.compile.graph import Graph, Node, Ref
from larix.compile.writer import Writer, replaced, rewritten

_ALONG = {
    "softmax",
    "_softmax",
    "log_softmax",
    "slice",
    "cat",
}  # along the axis that is their second argument


def turn(graph: Graph) -> tuple[Graph, list[str]]:
    """Write such einsums as matrix products with candidates next to last, and keep what lies between them in that order.

    ``permute`` goes down through what works value by value or along the last axis, until two of them meet and cancel.
    """
    products, told = rewritten(graph, _product)
    return (rewritten(products, _down)[0], told) if told else (graph, [])


def _product(node: Node, writer: Writer) -> Ref | None:
    """``einsum("bhd,blhd->bhl", x, y)``, y of one row -> a permuted ``matmul`` of x as [h, b, d] and y as [h, d, l]."""
    if node.op != ops.EINSUM or node.per_request or len(node.args[1]) != 2:
        return None
    terms, _, result = node.args[0].replace(" ", "").partition("->")
    left, right = terms.split(",")
    (x, y), row = node.args[1], left[:1]
    if writer.shape(y)[0] != 1 or writer.shape(x)[0] == 1 or not right[:1] == result[:1] == row:
        return None
    batch = [each for each in left[1:] if each in right and each in result]
    summed = [each for each in left[1:] if each in right and each not in result]
    made = [each for each in right[1:] if each not in left and each in result]
    one = {len(summed), len(made)} == {1} and len({*left}) == len(left) and len({*right}) == len(right)
    if not one or set(left) != {row, *batch, *summed} or set(right) != {row, *batch, *summed, *made}:
        return None
    if writer.shape(x)[left.index(summed[0])] != writer.shape(y)[right.index(summed[0])]:
        return None  # an einsum lets one of many values stand for each of them, a product does not
    rows = _permuted(x, [left.index(each) for each in (*batch, row, *summed)], node, writer)
    only = writer.add(ops.SELECT, y, 0, 0, like=node, per_request=True)
    order = [right.index(each) - 1 for each in (*batch, *summed, *made)]
    matrix = _permuted(only, order, node, writer, per_request=True)
    product = writer.add(ops.MATMUL, rows, matrix, like=node)
    there = (*batch, row, *made)
    writer.notes.append(f"{node.where}: {node.args[0]} with one row of '{y.name}' as a product of matrices")
    return _permuted(product, [there.index(each) for each in result], node, writer)


def _down(node: Node, writer: Writer) -> Ref | None:
    """``f(permute(x), ...)`` -> ``permute(f(x, ...))``; ``permute(permute(x))`` -> one, or none."""
    if node.per_request:
        return None
    if node.op == ops.PERMUTE:
        inner = _turned(node.args[0], writer)
        if inner is None:
            return None
        return _permuted(inner.args[0], [_order(inner)[axis] for axis in _order(node)], node, writer)
    reads = [Ref(name) for name in node.refs()]
    order = next((_order(found) for each in reads if (found := _turned(each, writer)) is not None), None)
    if order is None or not all(_can_turn(each, order, writer) for each in reads):
        return None
    back = {each.name: _back(each, order, node, writer) for each in reads}
    made = replaced(node, back)
    if not ops.is_pointwise(node.op):
        axis = order[ops.axis(node.args[1], len(order))] if _is_along(node) else None
        if axis is None:
            return None
        made = replace(made, args=(made.args[0], axis, *made.args[2:]))
    return _permuted(writer.add(made.op, *made.args, kwargs=made.kwargs, like=node), order, node, writer)


def _is_along(node: Node) -> bool:
    return ops.stem(node.op) in _ALONG and len(node.args) > 1


def _turned(ref: Ref, writer: Writer) -> Node | None:
    """The ``permute`` of candidates' values that made it."""
    source = writer.node(ref)
    return source if source is not None and source.op == ops.PERMUTE and not source.per_request else None


def _order(permute: Node) -> tuple[int, ...]:
    """Where its axes come from, each counted from the front."""
    axes: tuple[int, ...] = permute.args[1]
    return tuple(ops.axis(each, len(axes)) for each in axes)


def _turned_alike(ref: Ref, order: Sequence[int], writer: Writer) -> Ref | None:
    """The value of which it is the permutation ``order``, if it was made as that."""
    found = _turned(ref, writer)
    if found is None or _order(found) != tuple(order):
        return None
    before: Ref = found.args[0]
    return before


def _can_turn(ref: Ref, order: Sequence[int], writer: Writer) -> bool:
    """Whether it has been turned alike, or is one row, so that turning it costs next to nothing."""
    alike, shape = _turned_alike(ref, order, writer) is not None, writer.shape(ref)
    return len(shape) == len(order) and (alike or shape[0] == 1 or _of_one_row(ref, writer) is not None)


def _of_one_row(ref: Ref, writer: Writer) -> Ref | None:
    """What it is an ``expand`` of, if that is one row with as many axes."""
    source = writer.node(ref)
    if source is None or source.op != ops.EXPAND:
        return None
    inner: Ref = source.args[0]
    shape = writer.shape(inner)
    return inner if shape[0] == 1 and len(shape) == len(writer.shape(ref)) else None


def _back(ref: Ref, order: Sequence[int], like: Node, writer: Writer) -> Ref:
    """The value of which ``ref`` is the permutation ``order``."""
    before = _turned_alike(ref, order, writer)
    if before is not None:
        return before
    shape, inverse = writer.shape(ref), [order.index(axis) for axis in range(len(order))]
    inner = _of_one_row(ref, writer)
    turned = _permuted(ref if inner is None else inner, inverse, like, writer, per_request=True)
    if inner is None:
        return turned
    return writer.add(ops.EXPAND, turned, tuple(shape[axis] for axis in inverse), like=like)


def _permuted(
    ref: Ref, order: Sequence[int], like: Node, writer: Writer, per_request: bool | None = None
) -> Ref:
    if list(order) == list(range(len(order))):
        return ref
    return writer.add(ops.PERMUTE, ref, tuple(order), like=like, per_request=per_request)
