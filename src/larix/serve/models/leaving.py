"""Scorers on their way out: freed here, off the answers' path, once nobody else holds them. Knows nothing of who does.

Freeing a network's streams and rows takes a tenth of a second, which otherwise the last request would pay.
"""

import gc
import sys
import threading
import time
from collections.abc import Sequence

from larix.serve.scorer import Scorer

_LONG_S = 10.0  # longer than requests take


class Leaving:
    """Holds scorers by name, several of one name if need be, until `sweep` finds that it alone does.

    One that is held for long may be held by nothing but a circle of objects, as errors and what they remember make one: Python's
    collector, which otherwise comes by too seldom for what weighs hundreds of megabytes, is asked once.
    """

    def __init__(self) -> None:
        self._held: list[tuple[str, list[Scorer]]] = []
        self._look_at: list[
            float
        ] = []  # when a scorer has been held for long, in the order in which they came
        self._turn = threading.Lock()

    @property
    def names(self) -> Sequence[str]:
        """Of those that somebody still held when it was last swept, or who came since."""
        return [name for name, _ in self._held]

    def add(self, name: str, scorer: Scorer) -> None:
        """Take it in; whoever calls lets go of it."""
        with self._turn:
            self._held = [*self._held, (name, [scorer])]
            self._look_at.append(time.monotonic() + _LONG_S)

    def sweep(self) -> bool:
        """Free those that nobody else holds; whether any are left. Takes as long as freeing does."""
        with self._turn:
            long = bool(self._look_at) and time.monotonic() > self._look_at[0]
            if long:
                del self._look_at[0]
        if long and self._held:
            gc.collect()
        with self._turn:
            gone = [(name, held) for name, held in self._held if _holders(held) == _ALONE]
            self._held = [each for each in self._held if each not in gone]
        for _, held in gone:
            held.clear()
        return bool(self._held)


def _holders(held: Sequence[object]) -> int:
    """How many hold the one in ``held``, with those who do while it is counted."""
    return sys.getrefcount(held[0])


_ALONE = _holders([object()])
