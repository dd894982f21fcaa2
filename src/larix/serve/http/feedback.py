"""`/v1/feedback`: actions of people, taken in to be learned from. Knows nothing of where they go."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from larix.serve.http.call import Call, Route, document_of
from larix.serve.http.limits import Limits
from larix.serve.http.reply import Reply, reply_of
from larix.serve.refusal import Refusal, Why
from larix.serve.service import Service
from larix.serve.waiting import answered

MOST = 10_000


class FeedbackBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Rows of the log that actions go to, as values by column."""

    actions: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MOST)]


class Taken(msgspec.Struct, kw_only=True):
    """How many actions are on disk now."""

    id: str
    taken: int


class FeedbackCalls:
    """Answers `/v1/feedback` by ``service``."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self._service, self._limits = service, limits
        self._decoder = msgspec.json.Decoder(FeedbackBody)

    def routes(self) -> list[Route]:
        """What it answers."""
        return [Route(method="POST", path="/v1/feedback", handler=self.append)]

    async def append(self, call: Call) -> Reply:
        """Append actions to the log; answered when they are on disk."""
        asked = document_of(self._decoder, call.body, self._limits)
        feedback = self._service.feedback
        if feedback is None:
            raise Refusal(Why.UNKNOWN, "this server takes no feedback; start it with --feedback LOG")
        future = feedback.append(asked.actions, bearer=call.bearer)
        taken = await answered(future, call.deadline(None, self._limits) + self._limits.body_s)
        return reply_of(Taken(id=call.id, taken=taken))
