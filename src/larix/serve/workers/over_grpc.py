"""Calls over gRPC between a front and its workers, as ``over_http`` has it for HTTP. Needs the extra ``larix[grpc]``."""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import msgspec
from google.protobuf.json_format import ParseDict

from larix.serve.grpc.call import Call, Handler, parsed
from larix.serve.grpc.messages import methods
from larix.serve.grpc.repository import SERVICE
from larix.serve.telemetry import below
from larix.serve.workers.dispatch import Dispatch
from larix.serve.workers.frames import Asked, Told
from larix.serve.workers.merged import merged_statistics
from larix.serve.workers.worker import Answer, full_of

_ALL = ("RepositoryModelLoad", "RepositoryModelUnload")
_INFER = "ModelInfer"
_OWN, _STATISTICS = "ServerLive", "ModelStatistics"
_ALONE = nullcontext()


def answers_of(handlers: Mapping[str, Mapping[str, Handler]], room: Callable[[], None]) -> dict[str, Answer]:
    """A worker's side: what answers calls, by service and method. ``room``: raises Refusal where no request would be let in."""
    return {
        f"{service}/{method}": _answering(handler, room if method == _INFER else lambda: None)
        for service, answered in handlers.items()
        for method, handler in answered.items()
    }


def _answering(handler: Handler, room: Callable[[], None]) -> Answer:
    async def answer(asked: Asked, body: bytes) -> tuple[Told, bytes]:
        if (full := full_of(room)) is not None:
            return full, b""
        deadline = math.inf if asked.deadline is None else asked.deadline
        call = Call(id=asked.id, arrived=asked.arrived, bearer=asked.bearer, message=body, deadline=deadline)
        with below(asked.headers) if asked.headers else _ALONE:
            return Told(), await handler(call)

    return answer


class Relay:
    """A front's side: what answers a method in place of its handler; see ``listener.Instead``."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    def __call__(self, name: str, handler: Handler) -> Handler:
        """Who answers ``name``, SERVICE/METHOD."""
        method = name.rpartition("/")[2]
        if method == _OWN:
            return handler
        if method == _STATISTICS:
            return self._statistics

        async def relayed(call: Call) -> bytes:
            if method not in _ALL:
                return await self._ask(name, call, None)
            replies = [await self._ask(name, call, worker) for worker in self._dispatch.up or (None,)]
            return replies[-1]

        return relayed

    async def _ask(self, name: str, call: Call, worker: int | None) -> bytes:
        _, reply = await self._dispatch.ask(
            name,
            call.message,
            worker=worker,
            again=worker is None,
            id=call.id,
            bearer=call.bearer,
            headers=call.trace,
            arrived=call.arrived,
            deadline=None if call.deadline == math.inf else call.deadline,
        )
        return reply

    async def _statistics(self, call: Call) -> bytes:
        """Summed, of the documents that workers answer over HTTP."""
        request, response = methods(SERVICE)[_STATISTICS]
        asked = parsed(request, call.message)
        names = tuple(filter(None, (asked.name, asked.version if asked.name else "")))
        what = ("GET /v2/models/stats", "GET /v2/models/{}/stats", "GET /v2/models/{}/versions/{}/stats")
        documents = []
        for worker in self._dispatch.up or (None,):
            _, body = await self._dispatch.ask(what[len(names)], worker=worker, names=names, id=call.id)
            documents.append(msgspec.json.decode(body))
        reply: bytes = ParseDict(merged_statistics(documents), response()).SerializeToString()
        return reply
