"""What a graph costs for one request of n candidates, from shapes: floating-point operations and bytes moved.

Knows nothing of machines: bytes are what operations read and write if nothing is fused and nothing is cached.
"""

import math
from dataclasses import dataclass
from typing import Any

from larix.compile import ops
from larix.compile.graph import Graph, Node, Rows
from larix.compile.run import Shape, shapes


@dataclass(frozen=True, slots=True)
class Cost:
    """``flops``: a multiplication and an addition count as two. ``bytes``: read and written; views are free."""

    flops: int = 0
    bytes: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.flops - other.flops, self.bytes - other.bytes)

    @property
    def told_flops(self) -> str:
        """As ``1.23 MFLOP``."""
        return f"{_short(self.flops)}FLOP"

    def __str__(self) -> str:
        return f"{self.told_flops}, {_short(self.bytes)}B"


def cost(graph: Graph, candidates: int) -> Cost:
    """What one request of ``candidates`` costs."""
    known = shapes(graph)
    return sum((cost_of(node, known, candidates) for node in graph.nodes), Cost())


def cost_of(node: Node, known: dict[str, Any], candidates: int) -> Cost:
    """What one node costs. ``known``: see ``run.shapes``."""
    if ops.is_view(node.op):
        return Cost()
    rows = 1 if node.per_request else candidates
    made = known[node.name]
    written = [made] if isinstance(made, Shape) else list(made)
    # A value per request that is read by one per candidate is read once, from cache: its own size counts.
    read = [known[name] for name in dict.fromkeys(node.refs())]
    moved = sum(
        _numel(shape, rows) * shape.dtype.itemsize for shape in (*read, *written) if isinstance(shape, Shape)
    )
    return Cost(_flops(node, known, rows, sum(_numel(shape, rows) for shape in written)), moved)


def _flops(node: Node, known: dict[str, Any], rows: int, made: int) -> int:
    if node.op == ops.EINSUM:
        letters: dict[str, int] = {}
        for term, ref in zip(
            node.args[0].replace(" ", "").partition("->")[0].split(","), node.args[1], strict=True
        ):
            for letter, size in zip(term, known[ref.name], strict=True):
                letters[letter] = max(letters.get(letter, 1), _sized(size, rows))
        return 2 * math.prod(letters.values())
    if node.op in ops.PRODUCTS:
        first = node.args[1] if ops.stem(node.op) in {"addmm", "baddbmm"} else node.args[0]
        return 2 * made * _sized(known[first.name][-1], rows)
    if ops.stem(node.op) in {
        "cat",
        "stack",
        "index",
        "clone",
        "_to_copy",
        "index_select",
        "repeat",
        "gather",
    }:
        return 0
    if ops.is_pointwise(node.op):
        return made
    # Sums, softmax, norms: some operations for each value read.
    return sum(
        _numel(known[name], rows) for name in dict.fromkeys(node.refs()) if isinstance(known[name], Shape)
    )


def _sized(size: int | Rows, rows: int) -> int:
    return size.times * rows if isinstance(size, Rows) else size


def _numel(shape: Shape, rows: int) -> int:
    return math.prod(_sized(size, rows) for size in shape)


def _short(number: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if abs(number) >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number} "
