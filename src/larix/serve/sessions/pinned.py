"""Sessions on an engine: a side is computed by it and stays with the version that computed it. Knows nothing of sessions."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from larix.errors import DataError
from larix.serve.engine import Engine, Target
from larix.serve.request import Answer, Request
from larix.serve.scorer import User
from larix.serve.service import Columns
from larix.serve.sessions.future import ready, then
from larix.serve.sessions.session import Side

Follow = Callable[[Request, "Future[Answer]"], None]
"""Is told of a request and what its answer will be in."""


class Pinned:
    """A `Side` that holds its version by reference: that is in memory for as long as this is, whatever is loaded or dropped."""

    def __init__(
        self,
        engine: Engine,
        target: Target,
        user: User,
        columns: Columns | None = None,
        follow: Follow = lambda request, answer: None,
    ) -> None:
        self.user, self.columns = user, columns
        self._engine, self._follow = engine, follow
        self._target = replace(target, user=user)

    def score(self, request: Request) -> "Future[Answer]":
        """See `Side`."""
        answer = self._engine.submit(request, self._target)
        self._follow(request, answer)
        return answer


def pinned(
    engine: Engine,
    route: Callable[[Request], Target],
    signature: Callable[[str, str], Columns] | None = None,
    follow: Follow = lambda request, answer: None,
) -> "Callable[[Request], Future[Side]]":
    """What `Sessions` begins with: ``route`` says by which version; ``signature`` has the columns of a model's version.

    ``follow``: told of every request that is scored.
    """

    def begin(request: Request) -> "Future[Side]":
        target = route(request)
        if request.context is None:
            raise DataError("a session is opened for a context; give one")
        stamp = target.scorer.stamp
        columns = None if signature is None else signature(stamp.model, stamp.version)
        user = engine.open(target, request.context, deadline=request.deadline)
        return then(user, lambda user: ready(Pinned(engine, target, user, columns, follow)))

    return begin
