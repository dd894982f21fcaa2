"""User/item hoisting: what depends on the request alone is computed once per request, not once per candidate.

An abstract interpretation: every value is followed as pieces of columns, each per request or per candidate. No
pattern of a network is looked for; an operation that is not known to keep rows apart is given whole rows.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import torch

from larix.compile import ops
from larix.compile.graph import Graph, Input, Node, Ref, Rows
from larix.compile.pieces import (
    Piece,
    Value,
    all_per_request,
    bounds,
    cut,
    is_mixed,
    touching,
    whole,
    width_of,
)
from larix.compile.run import Shape, shapes
from larix.compile.writer import Writer, replaced

REQUEST, CANDIDATE = ".request", ".candidate"  # what an input's two parts are called
_FEW = 4  # per-request columns that are not worth a sum for every candidate
_BY_PIECE = {
    "slice",
    "select",
    "unsqueeze",
    "sum",
    "mean",
    "amax",
    "amin",
}  # along another axis: a piece at a time


@dataclass(frozen=True, slots=True)
class Block:
    """Per-request columns that ``where`` makes per candidate: ``flops`` for each, in Linears, that hoisting would save."""

    where: str
    flops: int


def hoist(graph: Graph) -> tuple[Graph, list[str]]:
    """The graph with per-request inputs of one row; inputs with columns of both kinds become two."""
    if not any(
        column.per_request for each in graph.inputs if not each.per_request for column in each.columns
    ):
        return graph, []
    hoisting = _Hoisting(graph)
    result = hoisting.result()
    once = [node for node in result.nodes if node.per_request and not ops.is_view(node.op)]
    notes = [f"{len(once)} operations once per request instead of once per candidate"]
    notes += [
        f"{where}: Linear split, {columns} columns per request" for where, columns in hoisting.split.items()
    ]
    return result, notes


def blocks(graph: Graph) -> list[Block]:
    """What hinders hoisting in a graph that has not been hoisted, the costliest first."""
    hoisting = _Hoisting(graph)
    return [Block(where, flops) for where, flops in hoisting.lost.most_common()]


class _Hoisting:
    """One interpretation of a graph, writing the new one on its way."""

    def __init__(self, graph: Graph) -> None:
        self.old, self.known = graph, shapes(graph)
        self.writer = Writer(graph)
        self.writer.inputs.clear()
        self.values: dict[str, Value] = {}  # of tensors that have rows
        self.several: dict[str, tuple[Ref, bool]] = {}  # of nodes that return several
        self.split: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self._joined: dict[object, Ref] = {}
        for each in graph.inputs:
            self._feed(each)
        for node in graph.nodes:
            self._node(node)

    def result(self) -> Graph:
        """The new graph. An output that is per request is given for every candidate."""
        like = self.old.nodes[-1] if self.old.nodes else Node("output", "", ())  # of inputs as they are
        outputs = []
        for name, of in self.old.outputs:
            if of in self.values:
                of = self._join(self.values[of], like, spread=True).name
            outputs.append((name, of))
        return self.writer.finish(tuple(outputs))

    def _feed(self, each: Input) -> None:
        levels = {column.per_request for column in each.columns}
        if len(levels) == 1 or each.per_request:
            level = each.per_request or levels.pop()
            ref = self.writer.feed(replace(each, per_request=level))
            self.values[each.name] = whole(ref, _width(each.shape), level)
            return
        parts: dict[bool, tuple[Ref, int]] = {}
        for level, suffix in ((True, REQUEST), (False, CANDIDATE)):
            columns = tuple(column for column in each.columns if column.per_request == level)
            wide = sum(column.width for column in columns)
            part = Input(each.name + suffix, (*each.shape[:-1], wide), each.dtype, columns, level)
            parts[level] = self.writer.feed(part), wide
        at, pieces = {True: 0, False: 0}, []
        for column in each.columns:
            level = column.per_request
            pieces.append(Piece(parts[level][0], at[level], column.width, parts[level][1], level))
            at[level] += column.width
        self.values[each.name] = tuple(pieces)

    def _node(self, node: Node) -> None:
        reads = [name for name in dict.fromkeys(node.refs()) if name in self.values or name in self.several]
        if not reads and not _has_rows(self.known[node.name]):
            self.writer.put(node)
            return
        if node.op == "getitem":
            ref, level = self.several[reads[0]]
            self._emit(node, {reads[0]: ref}, level)
            return
        values = [self.values[name] for name in reads if name in self.values]
        apart = len(values) == len(reads) and all(
            ops.keeps_rows(node, [self.known[name] for name in reads], made)
            for made in _results(self.known[node.name])
        )
        found = self._by_columns(node, reads, values) if apart and reads else None
        if found is not None:
            self.values[node.name] = found
        elif apart and all(map(all_per_request, values)):
            self._emit(node, {name: self._join(self.values[name], node) for name in reads}, True)
        elif apart and self._broadcasts(node):
            some = any(all_per_request(value) for value in values)
            op = ops.MATMUL if node.op == ops.BMM and some else node.op  # bmm wants as many rows of both
            given = {name: self._join(self.values[name], node) for name in reads}
            self._emit(replace(node, op=op), given, False, self._inherited(node, values))
        else:
            given = {
                name: self._join(self.values[name], node, spread=True)
                for name in reads
                if name in self.values
            }
            given |= {name: self.several[name][0] for name in reads if name in self.several}
            self._emit(node, given, False, self._inherited(node, values, unknown=not apart))

    def _by_columns(self, node: Node, reads: list[str], values: list[Value]) -> Value | None:
        """The result in pieces, where some columns may go one way and some the other; None if it must be whole."""
        dims = len(self.known[reads[0]])
        if dims < 2:
            return None
        last = dims - 1
        if node.op == ops.CAT and ops.axis(ops.argument(node, 1, "dim", 0), dims) == last:
            if len(node.args[0]) > sum(ref.name in self.values for ref in node.args[0]):
                return None
            return tuple(piece for ref in node.args[0] for piece in self.values[ref.name])
        if (
            node.op == ops.SLICE
            and ops.axis(node.args[1], dims) == last
            and ops.argument(node, 4, "step", 1) == 1
        ):
            start, end = ops.span(node, width_of(values[0]))
            return cut(values[0], start, end)
        if node.op == ops.LINEAR and is_mixed(values[0]) and len(values) == 1:
            return self._linear(node, values[0])
        if ops.is_pointwise(node.op) and any(not all_per_request(value) for value in values):
            return self._pointwise(node, reads, values)
        if ops.stem(node.op) in _BY_PIECE and is_mixed(values[0]) and not self._along(node, last, dims):
            return self._piecewise(node, values[0])
        return None

    def _along(self, node: Node, last: int, dims: int) -> bool:
        """Whether the operation works along the last axis, or puts another behind it."""
        axes = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
        room = dims + 1 if node.op == ops.UNSQUEEZE else dims
        return any(ops.axis(each, room) >= last + (node.op == ops.UNSQUEEZE) for each in axes)

    def _piecewise(self, node: Node, value: Value) -> Value:
        found: list[Piece] = []
        for part in bounds([value]):
            piece = cut(value, *part)
            level = piece[0].per_request
            ref = self._put(node, {node.args[0].name: self._join(piece, node)}, level)
            found += whole(ref, width_of(piece), level, piece[0].blocked)
        return tuple(found)

    def _linear(self, node: Node, value: Value) -> Value | None:
        weight = self.writer.constant(node.args[1])
        bias = node.args[2] if len(node.args) > 2 else None
        if weight is None:
            return None
        at = 0
        columns: dict[bool, list[torch.Tensor]] = {True: [], False: []}
        for piece in value:
            columns[piece.per_request].append(torch.arange(at, at + piece.width))
            if piece.blocked:
                self.lost[piece.blocked] += self._flops(node, piece.width)
            at += piece.width
        picked = {level: torch.cat(those) for level, those in columns.items()}
        if len(picked[True]) < _FEW:
            return None
        parts = {}
        for level in (True, False):
            own = self.writer.weight(node.args[1].name, weight[:, picked[level]])
            source = self._join(tuple(piece for piece in value if piece.per_request == level), node)
            arguments = (source, own, bias) if level else (source, own, None)
            parts[level] = self.writer.add(ops.LINEAR, *arguments, like=node, per_request=level)
        self.split[node.where] += len(picked[True])
        ref = self.writer.add(ops.ADD, parts[False], parts[True], like=node, per_request=False)
        return whole(ref, weight.shape[0], False)

    def _pointwise(self, node: Node, reads: list[str], values: list[Value]) -> Value | None:
        wide = _width(self.known[node.name])
        full = [value for value in values if width_of(value) == wide]
        narrow = [value for value in values if width_of(value) != wide]  # one column, for all
        free = all(map(all_per_request, narrow))
        ranges = bounds(full)
        once = {part: free and all(all_per_request(cut(value, *part)) for value in full) for part in ranges}
        if not any(once.values()):
            return self._blocked(node, reads, values, full)
        found: list[Piece] = []
        for part in ranges:
            given = {name: self._join(self._share(self.values[name], part, wide), node) for name in reads}
            weights = {
                ref: self._columns_of(ref, part, wide, node) for ref in node.refs() if ref not in self.values
            }
            ref = self._put(node, {**given, **weights}, once[part])
            lost = "" if once[part] else self._why(node, full, part)
            found += whole(ref, part[1] - part[0], once[part], lost)
        return tuple(found)

    def _blocked(self, node: Node, reads: list[str], values: list[Value], full: list[Value]) -> Value:
        """All columns are per candidate; those are marked that meet a per-candidate value here."""
        given = {name: self._join(self.values[name], node) for name in reads}
        ref = self._put(node, given, False)
        wide = _width(self.known[node.name])
        return tuple(
            Piece(ref, start, end - start, wide, False, self._why(node, full, (start, end)))
            for start, end in bounds(full)
        )

    def _why(self, node: Node, full: list[Value], part: tuple[int, int]) -> str:
        """Where those columns were lost: before, or here.

        Here, if they are the request's share of a value with columns of both kinds. A value that is the request's alone
        and meets a candidate's is no loss: that they meet is what it is for.
        """
        before = next((piece.blocked for value in full for piece in cut(value, *part) if piece.blocked), "")
        here = any(
            is_mixed(value) and any(piece.per_request for piece in cut(value, *part)) for value in full
        )
        return before or (node.where if here else "")

    def _inherited(self, node: Node, values: list[Value], unknown: bool = False) -> str:
        """What to say blocked the result of an operation that took whole rows."""
        pieces = [piece for value in values for piece in value]
        if not any(piece.per_request for piece in pieces):
            return (
                next((piece.blocked for piece in pieces if piece.blocked), "") if ops.is_view(node.op) else ""
            )
        return f"{node.where}, {ops.stem(node.op)}" if unknown or ops.stem(node.op) == "layer_norm" else ""

    def _broadcasts(self, node: Node) -> bool:
        """Whether one row of an argument serves all rows of another."""
        return node.op in (ops.BMM, ops.MATMUL, ops.EINSUM) or ops.is_pointwise(node.op)

    def _emit(self, node: Node, given: dict[str, Ref], per_request: bool, blocked: str = "") -> None:
        ref = self._put(node, given, per_request)
        made = self.known[node.name]
        if not isinstance(made, Shape):
            self.several[node.name] = (ref, per_request)
            return
        if node.op == ops.LINEAR and not per_request:
            for piece in (
                piece for name in given for piece in self.values[name] if piece.blocked or piece.per_request
            ):
                self.lost[piece.blocked or node.where] += self._flops(node, piece.width)
        if _has_rows(made):
            self.values[node.name] = whole(ref, _width(made), per_request, blocked)

    def _put(self, node: Node, given: dict[str, Ref], per_request: bool) -> Ref:
        new = replaced(node, given)
        return self.writer.add(new.op, *new.args, kwargs=new.kwargs, like=new, per_request=per_request)

    def _share(self, value: Value, part: tuple[int, int], wide: int) -> Value:
        return cut(value, *part) if width_of(value) == wide else value

    def _columns_of(self, name: str, part: tuple[int, int], wide: int, like: Node) -> Ref:
        weight = self.writer.constant(Ref(name))
        if weight is None or weight.dim() == 0 or weight.shape[-1] != wide or part == (0, wide):
            return Ref(name)
        return self.writer.weight(name, weight[..., part[0] : part[1]])

    def _join(self, value: Value, like: Node, spread: bool = False) -> Ref:
        """One tensor of those pieces; of all candidates' rows if any piece is per candidate, or if ``spread``."""
        key = (touching(value), spread)
        if key not in self._joined:
            self._joined[key] = self._made(key[0], like, spread)
        return self._joined[key]

    def _made(self, value: Value, like: Node, spread: bool) -> Ref:
        if len(value) == 1:
            return self._lone(value[0], like, spread)
        level = all_per_request(value)
        if level and spread:
            return self._rows(self._join(value, like), like)
        parts = tuple(self._lone(piece, like, spread=not level) for piece in value)
        return self.writer.add(ops.CAT, parts, -1, like=like, per_request=level)

    def _lone(self, piece: Piece, like: Node, spread: bool) -> Ref:
        ref = piece.ref
        if piece.width < piece.total:
            end = piece.start + piece.width
            ref = self.writer.add(
                ops.SLICE, ref, -1, piece.start, end, like=like, per_request=piece.per_request
            )
        return self._rows(ref, like) if spread and piece.per_request else ref

    def _rows(self, ref: Ref, like: Node) -> Ref:
        sizes = (Rows(1), *(-1 for _ in self.writer.shape(ref)[1:]))
        return self.writer.add(ops.EXPAND, ref, sizes, like=like, per_request=False)

    def _flops(self, node: Node, columns: int) -> int:
        made = self.known[node.name]
        each: int = 1
        for size in made[1:]:
            each *= 1 if isinstance(size, Rows) else size
        return 2 * each * columns


def _width(shape: Any) -> int:
    last = shape[-1] if len(shape) > 1 else 1
    return last if isinstance(last, int) else 1  # where the last axis counts rows there are no columns


def _results(made: Any) -> list[Shape]:
    return [made] if isinstance(made, Shape) else list(made)


def _has_rows(made: Any) -> bool:
    return any(isinstance(size, Rows) for shape in _results(made) for size in shape)
