"""Mixtures of a few experts: a product with a matrix of a few columns for each row becomes weighted sums.

Back-ends carry such a product out one tiny matrix after the other, and copy the experts' results side by side for it.
"""

from larix.compile import ops
from larix.compile.graph import Graph, Node, Ref
from larix.compile.run import Shape
from larix.compile.writer import Writer, rewritten

_FEW = 8  # experts, and mixtures of them, up to which sums take less time than the product


def mix(graph: Graph) -> tuple[Graph, list[str]]:
    """``bmm(weights [n, T, E], stack of E values [n, D])`` -> a stack of T sums of E values times a column each."""
    return rewritten(graph, _mixed)


def _mixed(node: Node, writer: Writer) -> Ref | None:
    stacked = writer.node(node.args[1]) if node.op in (ops.BMM, ops.MATMUL) else None
    if stacked is None or stacked.op != ops.STACK or ops.argument(stacked, 1, "dim", 0) != 1:
        return None
    experts: tuple[Ref, ...] = stacked.args[0]
    weights, values = writer.shape(node.args[0]), [writer.shape(each) for each in experts]
    if len(weights) != 3 or any(len(each) != 2 or each.dtype != weights.dtype for each in values):
        return None
    mixtures = weights[1]
    if not isinstance(mixtures, int) or max(mixtures, len(experts)) > _FEW:
        return None
    columns = _columns(node, writer, weights)
    sums = []
    for mixture in range(mixtures):
        total: Ref | None = None
        for number, expert in enumerate(experts):
            part = writer.add(ops.MUL, expert, columns[mixture][number], like=node)
            total = part if total is None else writer.add(ops.ADD, total, part, like=node)
        assert total is not None
        sums.append(total)
    writer.notes.append(
        f"{node.where}: {mixtures} mixtures of {len(experts)} experts as weighted sums, experts not joined"
    )
    return writer.add(ops.STACK, tuple(sums), 1, like=node)


def _columns(node: Node, writer: Writer, shape: Shape) -> list[list[Ref]]:
    """The weights, a column ``[n, 1]`` for each mixture and expert."""
    mixtures, experts = shape[1], shape[2]
    assert isinstance(mixtures, int)
    assert isinstance(experts, int)

    def cut(ref: Ref, start: int, width: int) -> Ref:
        return writer.add(ops.SLICE, ref, 1, start, start + width, like=node)

    rows = _rows(node, writer, mixtures)
    if rows is None:
        flat = writer.add(ops.RESHAPE, node.args[0], (shape[0], mixtures * experts), like=node)
        return [[cut(flat, row * experts + at, 1) for at in range(experts)] for row in range(mixtures)]
    return [[cut(row, at, 1) for at in range(experts)] for row in rows]


def _rows(node: Node, writer: Writer, mixtures: int) -> list[Ref] | None:
    """The weights of each mixture ``[n, E]``, where they are stacked of these, or a softmax that can be taken of each apart."""
    made = writer.node(node.args[0])
    if made is not None and made.op == ops.STACK and ops.argument(made, 1, "dim", 0) == 1:
        return list(made.args[0])
    if made is None or made.op != ops.SOFTMAX or ops.axis(made.args[1], 3) != 2:
        return None
    cut = writer.node(made.args[0])
    flat = None if cut is None or cut.op != ops.RESHAPE else cut.args[0]
    if flat is None or len(shape := writer.shape(flat)) != 2 or shape[0] != writer.shape(node.args[0])[0]:
        return None
    width = shape[1] // mixtures
    scores = [
        writer.add(ops.SLICE, flat, 1, row * width, (row + 1) * width, like=made) for row in range(mixtures)
    ]
    return [
        writer.add(ops.SOFTMAX, each, 1, *made.args[2:], kwargs=made.kwargs, like=made) for each in scores
    ]
