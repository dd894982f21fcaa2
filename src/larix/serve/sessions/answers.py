"""Answers that are remembered so that a retry gets the very same, within a number of bytes. Knows nothing of how they are made.

Whoever uses it holds a lock.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from larix.serve.ledger import Ledger
from larix.serve.request import Answer

_OBJECTS = 2048  # bytes of an answer that are not in its arrays


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """``mark``: of what was asked, see `fingerprint`."""

    answer: Answer
    mark: int
    bearer: bytes
    size: int


class Answers:
    """By session and request. Beyond ``each`` bytes of a bearer, that bearer's oldest are forgotten; beyond ``whole`` bytes, the
    oldest of whoever has most. ``forgotten`` counts them, and those too large to be remembered at all.
    """

    def __init__(self, whole: int, each: int) -> None:
        self.ledger = Ledger(whole, each)
        self.forgotten = 0
        self._of: dict[str, dict[str, Remembered]] = {}  # by session
        self._ages: dict[bytes, dict[tuple[str, str], None]] = {}  # by bearer, the oldest first

    def __len__(self) -> int:
        return sum(map(len, self._ages.values()))

    def get(self, session: str, request: str) -> Remembered | None:
        """What was answered; None if it was not, or was forgotten."""
        return self._of.get(session, {}).get(request)

    def put(self, bearer: bytes, session: str, request: str, answer: Answer, mark: int) -> None:
        """Remember an answer."""
        size = size_of(answer)
        if size > min(self.ledger.each, self.ledger.whole):
            self.forgotten += 1
            return
        while lack := self.ledger.lacks(bearer, size):
            oldest = next(iter(self._ages[bearer if lack == "each" else self.ledger.largest]))
            self._forget(*oldest)
            self.forgotten += 1
        self.ledger.take(bearer, size)
        self._of.setdefault(session, {})[request] = Remembered(answer, mark, bearer, size)
        self._ages.setdefault(bearer, {})[session, request] = None

    def drop(self, session: str) -> None:
        """Forget all answers of a session."""
        for request in list(self._of.get(session, ())):
            self._forget(session, request)

    def _forget(self, session: str, request: str) -> None:
        of = self._of[session]
        known = of.pop(request)
        if not of:
            del self._of[session]
        ages = self._ages[known.bearer]
        del ages[session, request]
        if not ages:
            del self._ages[known.bearer]
        self.ledger.give(known.bearer, known.size)


def size_of(answer: Answer) -> int:
    """The bytes that an answer keeps in memory."""
    arrays: list[Any] = [answer.order, answer.value, *answer.predictions.values()]
    if answer.explanation is not None:
        why = answer.explanation
        arrays += [why.value, *why.predictions.values(), *why.calibrated.values(), *why.shares.values()]
    return _OBJECTS + held_bytes(arrays)


def held_bytes(arrays: Iterable[np.ndarray[Any, Any]]) -> int:
    """The bytes that arrays keep in memory: a view keeps all of the array that it looks into."""
    owners = {}
    for array in arrays:
        while isinstance(array.base, np.ndarray):
            array = array.base
        owners[id(array)] = array.nbytes
    return sum(owners.values())
