"""Calls over HTTP between a front and its workers: which worker, or whether all of them, answer a route, and how.

Knows which calls have to do with a worker's own state; nothing of what they say.
"""

import zlib
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import cast

import msgspec

from larix.serve.http.call import Call, Headers, Route
from larix.serve.http.infer import JSON_LENGTH
from larix.serve.http.reply import TEXT, Reply, reply_of
from larix.serve.telemetry import below
from larix.serve.telemetry.traces import HEADERS as TRACE_HEADERS
from larix.serve.workers.dispatch import Dispatch
from larix.serve.workers.frames import Asked, Raw, Told
from larix.serve.workers.merged import merged_metrics, merged_statistics
from larix.serve.workers.worker import Answer, full_of

_HEADERS = (JSON_LENGTH, *TRACE_HEADERS)  # what handlers look at
_OWN = ("/", "/openapi.json", "/v1/feedback", "/v2/health/live")  # answered by the front itself

_ALIGNED = 8  # bytes of the widest numbers
_ALONE = nullcontext()

Handler = Callable[[Call], Awaitable[Reply]]


def answers_of(routes: Iterable[Route]) -> dict[str, Answer]:
    """What answers calls over HTTP, by method and route."""
    return {key_of(route): _answering(route) for route in routes}


def key_of(route: Route) -> str:
    """What a call of a route is named between processes."""
    return f"{route.method} {route.path}"


def _answering(route: Route) -> Answer:
    async def answer(asked: Asked, body: bytes) -> tuple[Told, bytes]:
        if route.room is not None and (full := full_of(route.room)) is not None:
            return full, b""
        call = Call(
            id=asked.id,
            bearer=asked.bearer,
            names=asked.names,
            headers=cast(Headers, asked.headers),
            body=body,
            arrived=asked.arrived,
        )
        with below(asked.headers) if "traceparent" in asked.headers else _ALONE:
            reply = await route.handler(call)
        told = Told(status=reply.status, kind=reply.kind, headers=reply.headers)
        return told, reply.body

    return answer


def relayed(routes: Iterable[Route], dispatch: Dispatch) -> list[Route]:
    """``routes`` of a server of its own, but answered by workers wherever a model has a part in it."""
    return [
        route if route.path in _OWN else replace(route, handler=_handler(route, dispatch)) for route in routes
    ]


def session_prefix(worker: int) -> str:
    """What the names of a worker's sessions begin with, so that calls find it."""
    return f"{worker}."


def _handler(route: Route, dispatch: Dispatch) -> Handler:
    path = route.path
    if path == "/v1/sessions":
        return _opening(route, dispatch)
    if path.startswith("/v1/sessions/"):
        return _in_session(route, dispatch)
    if path.startswith("/v2/repository/models/"):
        return _by_all(route, dispatch)
    if path == "/metrics":
        return _metrics(route, dispatch)
    if path.endswith("/stats"):
        return _statistics(route, dispatch)
    return _by_any(route, dispatch)


async def _ask(
    call: Call, route: Route, dispatch: Dispatch, worker: int | None, again: bool = False
) -> Reply:
    headers = {name: value for name in _HEADERS if (value := call.headers.get(name)) is not None}
    body: tuple[Raw, ...] = (call.body,)
    if JSON_LENGTH in headers:
        body, headers[JSON_LENGTH] = _aligned(call.body, headers[JSON_LENGTH])
    told, reply = await dispatch.ask(
        key_of(route),
        *body,
        worker=worker,
        again=again,
        id=call.id,
        bearer=call.bearer,
        names=call.names,
        headers=headers,
        arrived=call.arrived,
    )
    return Reply(told.status, reply, told.kind, told.headers)


def _aligned(body: bytes, length: str) -> tuple[tuple[Raw, ...], str]:
    """A body in parts, with blanks behind its JSON so that the tensors after it lie at a multiple of 8 bytes where it is read.

    ``length``: of the JSON; what it is then, too. If it cannot be one, nothing is changed, and the worker complains.
    """
    size = int(length[:20]) if length.isascii() and length.isdecimal() else 0
    blanks = -size % _ALIGNED
    if not blanks or size > len(body):
        return (body,), length
    view = memoryview(body)
    return (view[:size], b" " * blanks, view[size:]), str(size + blanks)


def _by_any(route: Route, dispatch: Dispatch) -> Handler:
    async def handler(call: Call) -> Reply:
        return await _ask(call, route, dispatch, None, again=True)

    return handler


def _opening(route: Route, dispatch: Dispatch) -> Handler:
    """A retry, which has the id of the first, goes where that went: there the session is known."""

    async def handler(call: Call) -> Reply:
        worker = None
        if call.headers.get("x-request-id"):
            worker = zlib.crc32(f"{call.bearer}\n{call.id}".encode()) % len(dispatch.members)
        return await _ask(call, route, dispatch, worker)

    return handler


def _in_session(route: Route, dispatch: Dispatch) -> Handler:
    """Whoever makes up a session is told by any worker that there is none."""

    async def handler(call: Call) -> Reply:
        head, dot, _ = call.names[0].partition(".")
        known = dot and head.isascii() and head.isdecimal() and int(head[:9]) < len(dispatch.members)
        return await _ask(call, route, dispatch, int(head[:9]) if known else None)

    return handler


def _by_all(route: Route, dispatch: Dispatch) -> Handler:
    """One after the other, so that the others answer meanwhile; the last answer is everybody's."""

    async def handler(call: Call) -> Reply:
        for worker in dispatch.up:
            reply = await _ask(call, route, dispatch, worker)
            if reply.status != 200:
                return reply
        return reply if dispatch.up else await _ask(call, route, dispatch, None)

    return handler


def _metrics(route: Route, dispatch: Dispatch) -> Handler:
    own = route.handler

    async def handler(call: Call) -> Reply:
        texts = {"front": (await own(call)).body.decode()}
        for worker in dispatch.up:
            texts[str(worker)] = (await _ask(call, route, dispatch, worker)).body.decode()
        return Reply(200, merged_metrics(texts).encode(), TEXT)

    return handler


def _statistics(route: Route, dispatch: Dispatch) -> Handler:
    async def handler(call: Call) -> Reply:
        replies = [await _ask(call, route, dispatch, worker) for worker in dispatch.up or (None,)]
        return reply_of(merged_statistics([msgspec.json.decode(reply.body) for reply in replies]))

    return handler
