"""An abstract value of hoisting: which columns of a tensor are per request, and where they are computed.

Knows nothing of operations; see ``rules/hoist.py``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from larix.compile.graph import Ref


@dataclass(frozen=True, slots=True)
class Piece:
    """Columns ``start`` to ``start + width`` of ``ref``, which has ``total``; last-axis columns of a value.

    ``per_request``: ``ref`` has one row. ``blocked``: where such columns came to be computed for every candidate
    although what they are made of is per request; empty otherwise.
    """

    ref: Ref
    start: int
    width: int
    total: int
    per_request: bool
    blocked: str = ""


Value = tuple[Piece, ...]  # side by side


def whole(ref: Ref, width: int, per_request: bool, blocked: str = "") -> Value:
    """All columns of ``ref``."""
    return (Piece(ref, 0, width, width, per_request, blocked),)


def width_of(value: Value) -> int:
    """How many columns."""
    return sum(piece.width for piece in value)


def all_per_request(value: Value) -> bool:
    """Whether no column is per candidate."""
    return all(piece.per_request for piece in value)


def is_mixed(value: Value) -> bool:
    """Whether some columns are per request and others are not."""
    return len({piece.per_request for piece in value}) == 2


def cut(value: Value, start: int, end: int) -> Value:
    """Columns ``start`` to ``end``."""
    found, at = [], 0
    for piece in value:
        first, last = max(start, at), min(end, at + piece.width)
        if first < last:
            found.append(replace(piece, start=piece.start + first - at, width=last - first))
        at += piece.width
    return tuple(found)


def touching(value: Iterable[Piece]) -> Value:
    """Neighbours that lie side by side in one tensor, too, as one piece; what blocked them is forgotten."""
    found: list[Piece] = []
    for piece in value:
        last = found[-1] if found else None
        if last is not None and last.ref == piece.ref and last.start + last.width == piece.start:
            found[-1] = replace(last, width=last.width + piece.width, blocked="")
        else:
            found.append(replace(piece, blocked=""))
    return tuple(found)


def bounds(values: Sequence[Value]) -> list[tuple[int, int]]:
    """Ranges of columns within which each of ``values`` is one piece, neighbours of equal levels and blocks joined."""
    edges = {0}
    for value in values:
        at = 0
        for piece in value:
            at += piece.width
            edges.add(at)
    steps = sorted(edges)
    ranges = list(pairwise(steps))
    found: list[tuple[int, int]] = []
    kinds: list[object] = []
    for start, end in ranges:
        kind = [(piece.per_request, piece.blocked) for value in values for piece in cut(value, start, end)]
        if kinds and kinds[-1] == kind:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
            kinds.append(kind)
    return found
