"""`/v1/rank`: plain JSON of a user and candidates to an ordered page. Knows nothing of tensors or of HTTP's own words."""

import msgspec

from larix.serve.http.asked import Asking, Candidates, Count, Milliseconds, Row, now_ms
from larix.serve.http.call import Call, Route, named
from larix.serve.http.limits import Limits
from larix.serve.http.page import page_of
from larix.serve.http.reply import Reply, reply_of
from larix.serve.service import Columns, Service
from larix.serve.waiting import answered


class RankBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What `/v1/rank` takes. ``user`` and ``context`` are one row; ``candidates`` are objects, or lists by column."""

    candidates: Candidates
    user: Row = {}
    context: Row = {}
    model: str = ""
    version: str = ""
    count: Count | None = None
    explain: bool = False
    diversity: bool = True
    timeout_ms: Milliseconds | None = None


class Ranking:
    """Answers `/v1/rank` by ``service``."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self._service, self._limits = service, limits
        self._asking = Asking(RankBody, limits)

    def routes(self) -> list[Route]:
        """What it answers."""
        return [Route(method="POST", path="/v1/rank", handler=self.rank, room=self._service.check_room)]

    async def rank(self, call: Call) -> Reply:
        """Rank candidates for a user in one call."""
        asked = self._asking.read(call.body, self._columns, now_ms())
        request = asked.request(
            call,
            self._limits,
            model=named(self._service, asked.document.model),
            version=asked.document.version,
        )
        answer = await answered(self._service.rank(request), request.deadline)
        missing = asked.context.missing | asked.candidates.missing
        return reply_of(page_of(answer, request, asked.columns, missing))

    def _columns(self, asked: RankBody) -> Columns:
        return self._service.signature(named(self._service, asked.model), asked.version)
