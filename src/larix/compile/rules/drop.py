"""Operations that only training needs: dropout, detach, copies that keep what is copied from change."""

from collections import Counter

from larix.compile import ops
from larix.compile.graph import Graph, Node, Ref
from larix.compile.writer import Writer, rewritten

_NOTHING = {"detach", "clone", "alias", "lift_fresh_copy", "contiguous"}


def drop(graph: Graph) -> tuple[Graph, list[str]]:
    """Read through them. A dropout that is left on in evaluation stays."""
    found: Counter[str] = Counter()

    def rewrite(node: Node, writer: Writer) -> Ref | None:
        off = ops.stem(node.op) in {"dropout", "feature_dropout", "alpha_dropout"} and not node.args[2]
        if ops.stem(node.op) not in _NOTHING and not off:
            return None
        found[ops.stem(node.op)] += 1
        passed: Ref = node.args[0]
        return passed

    graph, _ = rewritten(graph, rewrite)
    # torch.export writes a dropout that is off as a clone.
    told = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
    return graph, [f"{told}: only training needs them"] if found else []
