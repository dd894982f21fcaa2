"""Sessions on an engine: a side is computed by it and stays with the version that computed it. Knows nothing of sessions."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

import pyarrow as pa

from larix.errors import DataError
from larix.serve.engine import Engine, Target
from larix.serve.request import Answer, Request
from larix.serve.scorer import User
from larix.serve.service import Columns
from larix.serve.sessions.answers import held_bytes
from larix.serve.sessions.future import ready, then
from larix.serve.sessions.session import Side

_FIRST = pa.array([0])
Follow = Callable[[Request, "Future[Answer]"], None]
"""Is told of a request and what its answer will be in."""


class Pinned:
    """A `Side` that holds its version by reference: that is in memory for as long as this is, whatever is loaded or dropped.

    ``context``: what ``user`` was computed of, for others to compute it, too; ``follow`` is given it with each request.
    """

    def __init__(
        self,
        engine: Engine,
        target: Target,
        user: User,
        columns: Columns | None = None,
        follow: Follow = lambda request, answer: None,
        context: pa.RecordBatch | None = None,
    ) -> None:
        if context is not None:
            held = max(user.size_bytes, held_bytes(user.arrays.values())) + context.get_total_buffer_size()
            user = replace(user, size_bytes=held)
        self.user, self.columns = user, columns
        self._engine, self._follow, self._context = engine, follow, context
        self._target = replace(target, user=user)

    def score(self, request: Request) -> "Future[Answer]":
        """See `Side`."""
        answer = self._engine.submit(request, self._target)
        self._follow(request if self._context is None else replace(request, context=self._context), answer)
        return answer


def pinned(
    engine: Engine,
    route: Callable[[Request], Target],
    signature: Callable[[str, str], Columns] | None = None,
    follow: Follow = lambda request, answer: None,
    shadowed: Callable[[str], bool] = lambda model: False,
) -> "Callable[[Request], Future[Side]]":
    """What `Sessions` begins with: ``route`` says by which version; ``signature`` has the columns of a model's version.

    ``follow``: told of every request that is scored. ``shadowed``: whether what a model answers is computed again by others:
    then a session keeps its context, which counts among its bytes.
    """

    def begin(request: Request) -> "Future[Side]":
        target = route(request)
        if request.context is None:
            raise DataError("a session is opened for a context; give one")
        stamp = target.scorer.stamp
        columns = None if signature is None else signature(stamp.model, stamp.version)

        def keep(user: User, context: pa.RecordBatch = request.context) -> "Future[Side]":
            # A copy: columns may lie in the request's body, of which candidates are most.
            kept = context.take(_FIRST) if shadowed(stamp.model) else None
            return ready(Pinned(engine, target, user, columns, follow, kept))

        return then(engine.open(target, request.context, deadline=request.deadline), keep)

    return begin
