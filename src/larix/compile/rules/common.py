"""Common sub-expressions: what is computed twice from the same is computed once."""

from larix.compile.graph import Graph, Node, Ref
from larix.compile.writer import Writer, rewritten


def common(graph: Graph) -> tuple[Graph, list[str]]:
    """Read the first of several nodes that do the same to the same."""
    seen: dict[tuple[object, ...], Ref] = {}
    again: list[str] = []

    def rewrite(node: Node, writer: Writer) -> Ref | None:
        if "rand" in node.op or "dropout" in node.op or "bernoulli" in node.op:
            return None
        # 1, 1.0 and True are equal to Python, not to torch: repr tells them apart.
        key = (node.op, repr(node.args), repr(node.kwargs), node.per_request)
        first = seen.setdefault(key, Ref(node.name))
        if first.name == node.name:
            return None
        again.append(node.name)
        return first

    graph, _ = rewritten(graph, rewrite)
    return graph, [f"{len(again)} operations done before: {_some(again)}"] if again else []


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
