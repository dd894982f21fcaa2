"""What depends on weights alone is computed now; weights that are equal become one."""

import hashlib

import torch

from larix.compile.graph import Graph, Node, Ref, Rows, refs_in
from larix.compile.run import apply
from larix.compile.writer import Writer, replaced, rewritten, same_tensor

_GROWTH = 1 << 20  # bytes that a folded value may have more than what it is computed from


def fold(graph: Graph) -> tuple[Graph, list[str]]:
    """Compute nodes that read no input and make no rows, unless the result is much larger than what they read."""
    graph, shared = _tied(graph)
    folded: list[str] = []

    def rewrite(node: Node, writer: Writer) -> Ref | None:
        read = [writer.constant(Ref(name)) for name in node.refs()]
        known = [each for each in read if each is not None]
        if len(known) < len(read) or "rand" in node.op or _makes_rows(node):
            return None
        with torch.no_grad():
            value = apply(node, writer.weights, 1)
        if not isinstance(value, torch.Tensor):
            return None
        if value.nbytes > sum(each.nbytes for each in known) + _GROWTH:
            return None
        folded.append(node.name)
        return writer.weight(node.name, value)

    graph, _ = rewritten(graph, rewrite)
    notes = [f"{shared} weights that another equals"] if shared else []
    return graph, notes + ([f"{len(folded)} operations on weights alone"] if folded else [])


def _makes_rows(node: Node) -> bool:
    def any_rows(value: object) -> bool:
        return any(map(any_rows, value)) if isinstance(value, tuple) else isinstance(value, Rows)

    return any_rows(node.args) or any_rows(tuple(value for _, value in node.kwargs))


def _tied(graph: Graph) -> tuple[Graph, int]:
    firsts: dict[bytes, str] = {}
    by: dict[str, Ref] = {}
    for name, value in graph.weights.items():
        flat = value.flatten().clone(memory_format=torch.contiguous_format)
        digest = hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).digest()
        first = firsts.setdefault(digest, name)
        if first != name and same_tensor(graph.weights[first], value):
            by[name] = Ref(first)
    if not by:
        return graph, 0

    def rewrite(node: Node, writer: Writer) -> Ref | None:
        return writer.put(replaced(node, by)) if set(refs_in(node.args)) & set(by) else None

    graph, _ = rewritten(graph, rewrite)
    return graph, len(by)
