"""A call's way: let in, read, handed to whoever answers such calls, replied to. Knows RSGI; nothing of sockets.

Whatever happens, the client gets a status and a sentence, and its neighbours notice nothing.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import lru_cache
from random import getrandbits
from typing import NamedTuple, Protocol, cast

from larix.errors import DataError, LarixError
from larix.serve.http.body import LONG, Bodies, Held, size_of
from larix.serve.http.call import Call, Headers, Route
from larix.serve.http.door import Door
from larix.serve.http.limits import Limits
from larix.serve.http.reply import Rejected, Reply, encoding_of, failure_of, packed
from larix.serve.http.unread import Coming, Unread
from larix.serve.telemetry import below
from larix.serve.telemetry.traces import HEADERS as TRACE_HEADERS

_LOG = logging.getLogger(__name__)
WORTH_PACKING = 4 << 10  # bytes; fewer are not sent faster for it
LONGEST_ID = 128
_ALONE = nullcontext()
ALWAYS = (("server", "larix"), ("x-content-type-options", "nosniff"), ("cache-control", "no-store"))


class Scope(Protocol):
    """What RSGI tells of a request; ``path`` is without its percent signs."""

    method: str
    path: str

    @property
    def headers(self) -> Headers:
        """The headers."""
        ...


class Exchange(Protocol):
    """What RSGI brings the body by, and takes the answer through."""

    async def __call__(self) -> bytes:
        """The body, whole."""
        ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer."""
        ...


class Done(NamedTuple):
    """A call that was answered. ``path``: the route's, with ``{}`` for names; "" if there is none. ``error``: why not 200."""

    id: str
    bearer: str
    method: str
    path: str
    status: int
    seconds: float
    received_bytes: int
    sent_bytes: int
    error: Exception | None = None


class App:
    """``routes``: what can be asked for. ``done``: told of every answer, quickly; it must not raise.

    ``counts``: answers by method, the route's path and status; the former are "" if no route was found.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        *,
        limits: Limits,
        door: Door,
        done: Callable[[Done], None] = lambda _: None,
    ) -> None:
        self._limits, self._door, self._done = limits, door, done
        self._bodies = Bodies(limits)
        self._unread = Unread(self._bodies, limits.body_s)
        self._route = lru_cache(256)(self._found)
        self._routes: dict[int, list[tuple[list[str], dict[str, Route]]]] = {}
        for route in routes:
            parts = route.path.split("/")
            alike = self._routes.setdefault(len(parts), [])
            known = next((methods for each, methods in alike if each == parts), None)
            if known is None:
                alike.append((parts, {route.method: route}))
            else:
                known[route.method] = route
        self.counts: Counter[tuple[str, str, int]] = Counter()

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        """Answer one request."""
        arrived, headers, held = time.monotonic(), scope.headers, Held(self._bodies)
        id, bearer, path, size = f"{getrandbits(128):032x}", "", "", 0
        failure: Exception | None = None
        unread = True
        try:
            try:
                id = _id(headers.get("x-request-id")) or id
                route, names = self._route("GET" if scope.method == "HEAD" else scope.method, scope.path)
                path = route.path
                bearer = self._door.enter(headers, public=route.public, changes=route.changes)
                size, body = self._size(headers), b""
                if route.room is not None:
                    route.room()
                if route.reads:
                    unread = False
                    body = await self._bodies.read(exchange, size, _packed_by(headers), held)
                    if route.room is not None:
                        route.room()  # many may have come while this one was read
                call = Call(id=id, bearer=bearer, names=names, headers=headers, body=body, arrived=arrived)
                trace = _trace(headers)
                with below(trace) if trace else _ALONE:
                    reply = await route.handler(call)
            except Exception as error:
                failure = error
                reply = failure_of(error, id)
                if reply.status == 500:
                    _LOG.error("%s %s failed", scope.method, path, exc_info=error, extra={"request": id})
            reply = await _fit(reply, headers)
            exchange.response_bytes(
                reply.status,
                [("content-type", reply.kind), ("x-request-id", id), *ALWAYS, *reply.headers],
                reply.body,
            )
            self.counts[scope.method if path else "", path, reply.status] += 1  # anybody can make up methods
            self._done(
                Done(
                    id=id,
                    bearer=bearer,
                    method=scope.method,
                    path=path,
                    status=reply.status,
                    seconds=time.monotonic() - arrived,
                    received_bytes=size,
                    sent_bytes=len(reply.body),
                    error=failure,
                )
            )
            if failure is not None and unread:
                self._drain(headers, exchange)
        finally:
            failure = None  # it holds this frame: one that held it, too, would wait for the collector
            held.release()

    def _found(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        parts = path.split("/")
        for template, methods in self._routes.get(len(parts), ()):
            if all(wanted in ("{}", part) for wanted, part in zip(template, parts, strict=True)):
                if method not in methods:
                    offered = ", ".join(sorted(methods))
                    raise Rejected(
                        405, f"{path!r:.80} takes {offered}, not {method:.20}", (("allow", offered),)
                    )
                names = [part for wanted, part in zip(template, parts, strict=True) if wanted == "{}"]
                return methods[method], tuple(names)
        raise Rejected(404, f"there is no {path!r:.80}; /openapi.json tells what there is")

    def _size(self, headers: Headers) -> int:
        chunked = headers.get("transfer-encoding") is not None
        return size_of(headers.get("content-length"), chunked, self._limits.body_bytes)

    def _drain(self, headers: Headers, exchange: Exchange) -> None:
        """Take in a small body that nobody read, so that the connection goes on behind the answer.

        None that waits to be asked for: it need not come.
        """
        try:
            size = self._size(headers)
        except LarixError:
            return  # it is not worth it: the connection is closed behind the answer
        if 0 < size <= LONG and headers.get("expect") is None:
            self._unread.take(size, cast(Callable[[], Coming], exchange))  # granian's body comes by itself


async def _fit(reply: Reply, headers: Headers) -> Reply:
    encoding = encoding_of(headers.get("accept-encoding")) if len(reply.body) >= WORTH_PACKING else None
    if encoding is None:
        return reply
    if len(reply.body) < LONG:
        return packed(reply, encoding)
    return await asyncio.to_thread(packed, reply, encoding)


def _trace(headers: Headers) -> dict[str, str]:
    return {name: value for name in TRACE_HEADERS if (value := headers.get(name)) is not None}


def _packed_by(headers: Headers) -> str | None:
    encoding = headers.get("content-encoding")
    return encoding and encoding.strip().lower()


def _id(given: str | None) -> str | None:
    if given and (len(given) > LONGEST_ID or not given.isascii() or not given.isprintable()):
        raise DataError(
            f"the request id has characters other than printable ASCII, or more than {LONGEST_ID}"
        )
    return given
