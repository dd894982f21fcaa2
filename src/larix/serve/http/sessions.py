"""`/v1/sessions`: open one for a user, score candidates against it as often as needed, close it.

Knows nothing of how sessions are kept.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from larix.serve.http.asked import Asking, Candidates, Count, Milliseconds, Row, now_ms
from larix.serve.http.call import Call, Route, named
from larix.serve.http.limits import Limits
from larix.serve.http.page import Page, State, page_of, state_of
from larix.serve.http.reply import Reply, reply_of
from larix.serve.refusal import Refusal, Why
from larix.serve.service import Columns, Service
from larix.serve.waiting import answered

REMEMBERED = 1 << 14  # requests to open a session, for their retries


class OpenBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What opens a session. ``ttl_s``: how long it stays unused before it ends, in seconds.

    ``candidates``: of the first round, which is answered at once; what follows them is as in `ScoreBody`.
    """

    user: Row = {}
    context: Row = {}
    model: str = ""
    version: str = ""
    ttl_s: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    timeout_ms: Milliseconds | None = None
    candidates: Candidates | None = None
    count: Count | None = None
    explain: bool = False
    diversity: bool = True


class ScoreBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Candidates for an open session."""

    candidates: Candidates
    count: Count | None = None
    explain: bool = False
    diversity: bool = True
    timeout_ms: Milliseconds | None = None


class OpenedSession(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An open session, pinned to one version. ``session``: its secret name. ``page``: the first round's, if one was asked for."""

    id: str
    session: str
    model: str
    version: str
    stamp: State
    ttl_s: float
    missing: dict[str, int]
    page: Page | None = None


class SessionCalls:
    """Answers `/v1/sessions` by ``service``. A call that is repeated with its x-request-id is not carried out twice."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self._service, self._limits = service, limits
        self._open, self._score = Asking(OpenBody, limits), Asking(ScoreBody, limits)
        self._asked_ms: dict[tuple[str, str], int] = {}  # the oldest first

    def routes(self) -> list[Route]:
        """What it answers."""
        return [
            Route(method="POST", path="/v1/sessions", handler=self.open),
            Route(method="POST", path="/v1/sessions/{}/score", handler=self.score),
            Route(method="DELETE", path="/v1/sessions/{}", handler=self.close),
        ]

    async def open(self, call: Call) -> Reply:
        """Compute a user's side and keep it; score the first candidates against it if there are any."""
        asked = self._open.read(call.body, self._columns, self._first_ms(call))
        body, sessions = asked.document, self._service.sessions
        request = asked.request(
            call, self._limits, model=named(self._service, body.model), version=body.version
        )
        page = None
        if asked.candidates.rows is None:
            opening = sessions.open(
                model=request.model,
                context=request.context,
                version=request.version,
                user=request.user,
                ttl_s=body.ttl_s,
                bearer=call.bearer,
                id=call.id,
                deadline=request.deadline,
            )
            opened = await answered(opening, request.deadline)
        else:
            both = sessions.open_and_score(request, ttl_s=body.ttl_s, bearer=call.bearer)
            opened, answer = await answered(both, request.deadline)
            page = page_of(answer, request, asked.columns, asked.candidates.missing)
        missing = {**asked.context.missing, **opened.missing}
        return reply_of(
            OpenedSession(
                id=call.id,
                session=opened.id,
                model=opened.stamp.model,
                version=opened.stamp.version,
                stamp=state_of(opened.stamp),
                ttl_s=opened.ttl_s,
                missing={name: count for name, count in missing.items() if count},
                page=page,
            ),
            201,
        )

    async def score(self, call: Call) -> Reply:
        """Score candidates against an open session."""
        (session,) = call.names
        asked = self._score.read(call.body, lambda _: self._pinned(session, call.bearer), 0)
        request = asked.request(call, self._limits, session=session)
        future = self._service.sessions.score(request, bearer=call.bearer)
        answer = await answered(future, request.deadline)
        return reply_of(page_of(answer, request, asked.columns, asked.candidates.missing))

    async def close(self, call: Call) -> Reply:
        """End a session."""
        self._service.sessions.close(call.names[0], bearer=call.bearer)
        return Reply(204, b"")

    def _columns(self, asked: OpenBody) -> Columns:
        return self._service.signature(named(self._service, asked.model), asked.version)

    def _pinned(self, session: str, bearer: str) -> Columns:
        columns = self._service.sessions.columns(session, bearer=bearer)
        if columns is None:
            raise Refusal(Why.BROKEN, "nobody knows how candidates for this session are read; open another")
        return columns

    def _first_ms(self, call: Call) -> int:
        """When this request to open was first made: a retry must not differ by the time that we fill in."""
        asked = call.bearer, call.id
        first = self._asked_ms.setdefault(asked, now_ms())
        if len(self._asked_ms) > REMEMBERED:
            del self._asked_ms[next(iter(self._asked_ms))]
        return first
