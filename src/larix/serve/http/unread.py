"""Small bodies of calls that were refused unread, taken in behind the answer: their connections go on. Knows nothing of calls."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from larix.serve.http.body import Bodies, Held

_LOOK_S = 0.05  # between looks at which are there: until then each takes its room


class Coming(Protocol):
    """A body that was asked for, and comes whether or not somebody waits for it."""

    def done(self) -> bool:
        """Whether it is there, or broke off."""
        ...

    def cancel(self) -> object:
        """Give it up; its connection is closed."""
        ...


class Unread:
    """Of one event loop. ``body_s``: how long each may take; one that takes longer is given up.

    Nobody is woken for them: whoever refuses a flood would spend half of its time on that.
    """

    def __init__(self, bodies: Bodies, body_s: float) -> None:
        self._bodies, self._body_s = bodies, body_s
        self._coming: list[tuple[float, Coming, Held]] = []

    def take(self, size: int, begin: Callable[[], Coming]) -> None:
        """Take in a body of ``size`` bytes, which comes once ``begin`` is called; not if there is no room for it."""
        held = Held(self._bodies)
        try:
            held.take(size)
            body = begin()
        except Exception:  # the connection is closed behind the answer
            held.release()
            return
        if not self._coming:
            asyncio.get_running_loop().call_later(_LOOK_S, self._look)
        self._coming.append((time.monotonic() + self._body_s, body, held))

    def _look(self) -> None:
        now, left = time.monotonic(), []
        for due, body, held in self._coming:
            if not body.done() and now < due:
                left.append((due, body, held))
                continue
            body.cancel()  # which does nothing to one that is there
            held.release()
        self._coming = left
        if left:
            asyncio.get_running_loop().call_later(_LOOK_S, self._look)
