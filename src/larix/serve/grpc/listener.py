"""Calls as grpcio brings them: let in, read in time, handed to whoever answers, ended with a status if it fails.

The only place that knows grpcio's server. Knows nothing of what is asked.
"""

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from larix.errors import ConfigError, DataError
from larix.serve.grpc.answers import handlers
from larix.serve.grpc.call import Call, Handler
from larix.serve.grpc.limits import GrpcLimits
from larix.serve.grpc.repository import PUBLIC
from larix.serve.grpc.status import Unauthenticated, status_of
from larix.serve.refusal import Refusal, Why
from larix.serve.service import Service
from larix.serve.telemetry import below
from larix.serve.telemetry.traces import HEADERS as TRACE_HEADERS

Bearer = Callable[[str | None], str | None]
"""Who it is that sends this ``authorization``; None if it opens nothing."""
Instead = Callable[[str, Handler], Handler]
"""What answers a method, as "SERVICE/METHOD", instead of its handler."""
_ALONE = nullcontext()
_INFER = "ModelInfer"
_LONGEST_ID = 128


def listen(
    service: Service,
    limits: GrpcLimits,
    address: str,
    bearer: Bearer | None,
    secrets: tuple[Path, Path] | None,
    instead: Instead = lambda _, handler: handler,
) -> tuple[grpc.aio.Server, int]:
    """A server bound to ``address``, not started, and its port; to be called where its loop runs.

    ``bearer``: None lets everybody in. ``secrets``: key and certificate for TLS. ``instead``: who answers, if not the handlers of
    ``service``. ConfigError if it cannot listen there.
    """
    server = grpc.aio.server(options=_options(limits), maximum_concurrent_rpcs=limits.calls)
    for name, methods in handlers(service, limits).items():
        taken: dict[str, Any] = {
            method: grpc.stream_unary_rpc_method_handler(
                _behaviour(
                    instead(f"{name}/{method}", handler),
                    limits,
                    None if method in PUBLIC else bearer,
                    service.check_room if method == _INFER else None,
                )
            )
            for method, handler in methods.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, taken),))
    try:
        if secrets is None:
            return server, server.add_insecure_port(address)
        pair = (secrets[0].read_bytes(), secrets[1].read_bytes())
        return server, server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"cannot listen at {address}: {error}") from error


def _behaviour(
    handler: Handler, limits: GrpcLimits, bearer: Bearer | None, room: Callable[[], None] | None
) -> Any:
    """``handler`` as grpcio calls it. ``room``: raises Refusal where it would, whatever the message; asked before that is read.

    Every method has one message each way, but is served as if clients could send several: only so is a call given to us before
    its message is there, and a client that never finishes one can be cut off.
    """

    async def behaviour(
        messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> bytes:
        metadata = dict(context.invocation_metadata() or ())
        call = Call(id=_id(metadata.get("x-request-id")), arrived=time.monotonic())
        try:
            who = "" if bearer is None else bearer(_text(metadata.get("authorization")))
            if who is None:
                raise Unauthenticated("no known token; send it as metadata authorization: Bearer TOKEN")
            call.bearer = who
            if room is not None:
                room()
            call.message = await _message(messages, limits.body_s)
            left = context.time_remaining()
            call.deadline = math.inf if left is None else time.monotonic() + left
            call.trace = {
                name: each
                for name, each in metadata.items()
                if name in TRACE_HEADERS and isinstance(each, str)
            }
            with below(call.trace) if call.trace else _ALONE:
                return await handler(call)
        except Exception as error:
            status = status_of(error, call.id)
            await context.abort(status.code, status.text, status.metadata)

    return behaviour


async def _message(messages: AsyncIterator[bytes], seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await anext(aiter(messages))
    except TimeoutError:
        raise Refusal(Why.TOO_LATE, f"the message was not there whole after {seconds:g} s") from None
    except StopAsyncIteration:
        raise DataError("the call ended without a message") from None


def _id(given: str | bytes | None) -> str:
    text = _text(given) or ""
    return text if 0 < len(text) <= _LONGEST_ID and text.isprintable() else uuid.uuid4().hex


def _text(given: str | bytes | None) -> str | None:
    return given.decode(errors="replace") if isinstance(given, bytes) else given


def _options(limits: GrpcLimits) -> list[tuple[str, Any]]:
    alive_ms = int(limits.alive_s * 1000)
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.max_concurrent_streams", limits.calls),
        ("grpc.max_connection_idle_ms", int(limits.idle_s * 1000)),
        ("grpc.keepalive_time_ms", alive_ms),
        ("grpc.keepalive_timeout_ms", alive_ms),
        ("grpc.http2.ping_timeout_ms", alive_ms),  # a minute otherwise, whatever the one above says
        (
            "grpc.server_handshake_timeout_ms",
            int(limits.body_s * 1000),
        ),  # for the client's first bytes; else two minutes
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.so_reuseport", 0),  # or two servers would share a port unasked
    ]
