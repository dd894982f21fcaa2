"""`/v1/sessions`: open one for a user, score candidates against it as often as needed, close it.

Knows nothing of how sessions are kept.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from larix.serve.http.call import Call, Route, answered, document_of, named
from larix.serve.http.limits import Limits
from larix.serve.http.ranking import (
    Candidates,
    Count,
    Milliseconds,
    Page,
    Row,
    State,
    check_number,
    merged,
    now_ms,
    page_of,
    state_of,
)
from larix.serve.http.reply import Reply, reply_of
from larix.serve.refusal import Refusal, Why
from larix.serve.request import Request
from larix.serve.service import Service

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
        self._open = msgspec.json.Decoder(OpenBody)
        self._score = msgspec.json.Decoder(ScoreBody)
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
        asked = document_of(self._open, call.body, self._limits)
        model = named(self._service, asked.model)
        columns = self._service.signature(model, asked.version)
        context, missing = columns.context_of(merged(asked.user, asked.context), self._first_ms(call))
        deadline = call.deadline(asked.timeout_ms, self._limits)
        sessions, user = self._service.sessions, columns.user_of(context)
        page = None
        if asked.candidates is None:
            opening = sessions.open(
                model=model,
                context=context,
                version=asked.version,
                user=user,
                ttl_s=asked.ttl_s,
                bearer=call.bearer,
                id=call.id,
                deadline=deadline,
            )
            opened = await answered(opening, deadline)
        else:
            check_number(asked.candidates, self._limits)
            candidates, not_given = columns.candidates_of(asked.candidates)
            request = Request(
                id=call.id,
                candidates=candidates,
                context=context,
                model=model,
                version=asked.version,
                user=user,
                deadline=deadline,
                count=asked.count,
                explain=asked.explain,
                diversity=asked.diversity,
            )
            both = sessions.open_and_score(request, ttl_s=asked.ttl_s, bearer=call.bearer)
            opened, answer = await answered(both, deadline)
            page = page_of(answer, request, columns, not_given)
        return reply_of(
            OpenedSession(
                id=call.id,
                session=opened.id,
                model=opened.stamp.model,
                version=opened.stamp.version,
                stamp=state_of(opened.stamp),
                ttl_s=opened.ttl_s,
                missing={name: count for name, count in {**missing, **opened.missing}.items() if count},
                page=page,
            ),
            201,
        )

    async def score(self, call: Call) -> Reply:
        """Score candidates against an open session."""
        (session,) = call.names
        asked = document_of(self._score, call.body, self._limits)
        check_number(asked.candidates, self._limits)
        columns = self._service.sessions.columns(session, bearer=call.bearer)
        if columns is None:
            raise Refusal(Why.BROKEN, "nobody knows how candidates for this session are read; open another")
        candidates, missing = columns.candidates_of(asked.candidates)
        request = Request(
            id=call.id,
            candidates=candidates,
            deadline=call.deadline(asked.timeout_ms, self._limits),
            count=asked.count,
            explain=asked.explain,
            diversity=asked.diversity,
            session=session,
        )
        future = self._service.sessions.score(request, bearer=call.bearer)
        answer = await answered(future, request.deadline)
        return reply_of(page_of(answer, request, columns, missing))

    async def close(self, call: Call) -> Reply:
        """End a session."""
        self._service.sessions.close(call.names[0], bearer=call.bearer)
        return Reply(204, b"")

    def _first_ms(self, call: Call) -> int:
        """When this request to open was first made: a retry must not differ by the time that we fill in."""
        asked = call.bearer, call.id
        first = self._asked_ms.setdefault(asked, now_ms())
        if len(self._asked_ms) > REMEMBERED:
            del self._asked_ms[next(iter(self._asked_ms))]
        return first
