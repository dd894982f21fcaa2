"""One instant of a store: when it was, and its rows in pieces. Knows nothing of files or of how rows are copied."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats, Ids
from larix.embedding import ranges
from larix.embedding.spec import TableSpec

UInts = NDArray[np.uint32]

PIECE_BYTES = 16 << 20  # of a piece's rows, about: also the size of a file of a saved table


@dataclass(frozen=True, kw_only=True, slots=True)
class Instant:
    """A state that a store was in: the end of ``sequence`` in the life ``history`` of one store object.

    Two states with the same history and sequence are the same, bit for bit. ``steps``: calls of apply and
    update so far; ``clock``: the store's clock.
    """

    history: str
    sequence: int
    steps: int
    clock: int

    def same_state(self, other: "Instant | None") -> bool:
        """Whether both name the same state."""
        return other is not None and (self.history, self.sequence) == (other.history, other.sequence)

    def to_json(self) -> dict[str, Any]:
        """Return what ``json`` can write and ``from_json`` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "Instant":
        """Read what ``to_json`` wrote; ConfigError or TypeError if it is not that."""
        found = cls(**given)
        if not isinstance(found.history, str):
            raise TypeError(f"history is {found.history!r:.50}, not a text")
        ranges.whole(found, 2**32 - 1, sequence=found.sequence)
        ranges.whole(found, 2**63, steps=found.steps)
        ranges.whole(found, 2**32, clock=found.clock)
        return found


class Piece(NamedTuple):
    """Some rows of one table: ids int64 ``[n]`` in no order, weights float32 ``[n, dim]``, state float32 ``[n, s]``.

    ``seen`` uint32 ``[n]``: the clock when a row was last changed; ``score`` float32 ``[n]``: what its
    eviction policy keeps.
    """

    table: str
    ids: Ids
    weights: Floats
    state: Floats
    seen: UInts
    score: Floats

    def take(self, which: slice | NDArray[np.int64] | NDArray[np.bool_]) -> "Piece":
        """Some of its rows, in the order asked for."""
        return Piece(
            self.table,
            self.ids[which],
            self.weights[which],
            self.state[which],
            self.seen[which],
            self.score[which],
        )


class Snapshot:
    """All rows of a store as they were at ``instant``: iterate once for its pieces; each row is in one of them.

    A context manager: leaving it gives back what the copy holds, also if it was not read to the end. Training
    may go on meanwhile.
    """

    def __init__(
        self,
        specs: Mapping[str, TableSpec],
        seed: int,
        instant: Instant,
        pieces: Iterator[Piece],
        close: Callable[[], None] | None = None,
        held: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        self.specs = dict(specs)
        self.seed = seed
        self.instant = instant
        self._pieces = pieces
        self._close = close
        self._held = held

    def __iter__(self) -> Iterator[Piece]:
        return self._pieces

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def held(self) -> tuple[int, int]:
        """The most bytes that copies of rows took in memory so far, and bytes that went to a file instead."""
        return self._held()

    def close(self) -> None:
        """Give back what the snapshot holds; it yields nothing more."""
        self._pieces = iter(())
        if self._close is not None:
            self._close()
            self._close = None


def even_pieces(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Yield the rows of one table's ``pieces`` in pieces of about ``PIECE_BYTES``, neither much more nor less."""
    held: list[Piece] = []
    count = 0
    for piece in pieces:
        most = max(1, PIECE_BYTES // (16 + 4 * (piece.weights.shape[1] + piece.state.shape[1])))
        for start in range(0, len(piece.ids), most):
            held.append(piece.take(slice(start, start + most)))
            count += len(held[-1].ids)
            if count >= most:
                yield joined(held)
                held, count = [], 0
    if held:
        yield joined(held)


def joined(pieces: Sequence[Piece]) -> Piece:
    """Return pieces of one table as one."""
    if len(pieces) == 1:
        return pieces[0]
    return Piece(
        pieces[0].table,
        np.concatenate([piece.ids for piece in pieces]),
        np.concatenate([piece.weights for piece in pieces]),
        np.concatenate([piece.state for piece in pieces]),
        np.concatenate([piece.seen for piece in pieces]),
        np.concatenate([piece.score for piece in pieces]),
    )
