"""What a front and its workers tell each other: a head and a body a message, over a socket. Knows nothing of what is asked.

A message is two lengths (4 bytes each, the lowest first), the head as MessagePack, and the body as it came.
"""

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar, cast

import msgspec

from larix.errors import DataError
from larix.serve.refusal import Refusal, Why

_LENGTHS = struct.Struct("<II")
_USUAL = 256 << 10  # bytes that are kept to receive into; longer messages have room made for them
T = TypeVar("T")
Raw = bytes | memoryview  # of single bytes
PING = "ping"
"""The question that every worker answers at once, as long as it answers at all."""


class Asked(msgspec.Struct, array_like=True, kw_only=True):
    """A question. ``what``: which, as "POST /v1/rank". ``number``: of this connection; the answer has it, too.

    The rest is as a ``Call`` has it: times are of ``time.monotonic()``, which all processes of a machine share.
    """

    number: int
    what: str
    id: str = ""
    bearer: str = ""
    names: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    arrived: float = 0.0
    deadline: float | None = None


class Failure(msgspec.Struct, array_like=True, kw_only=True):
    """Why there is no answer. ``why``: a Why; 0: the question was malformed; -1: the worker failed, and its log says how."""

    why: int
    text: str
    retry_after_s: float | None = None


class Told(msgspec.Struct, array_like=True, kw_only=True):
    """An answer: status, kind and headers of a reply, or why there is none. ``full``: no other of its kind would be taken now.

    ``number``: of the question.
    """

    number: int = 0
    status: int = 200
    kind: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    failure: Failure | None = None
    full: bool = False


_ENCODER = msgspec.msgpack.Encoder()


def framed(head: Asked | Told, *body: Raw) -> tuple[Raw, ...]:
    """A message as it goes over the socket, in parts, so that those of the body are not copied for it."""
    packed = _ENCODER.encode(head)
    return _LENGTHS.pack(len(packed), sum(map(len, body))) + packed, *body


class Frames(asyncio.BufferedProtocol, Generic[T]):
    """One end of a connection. ``kind``: of the heads that come. ``taken``: given every message. ``lost``: told of the end.

    A peer that sends what is no message is cut off. What comes is written to where it is read from: a body is copied once.
    """

    def __init__(self, kind: type[T], taken: Callable[[T, bytes], None], lost: Callable[[], None]) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._taken, self._lost = taken, lost
        self._come, self._filled = memoryview(bytearray(_USUAL)), 0
        self._transport: asyncio.Transport | None = None

    @property
    def connected(self) -> bool:
        """Whether messages can be sent."""
        return self._transport is not None

    def send(self, head: Asked | Told, *body: Raw) -> None:
        """Send a message, its body in any number of parts, when the peer takes it. ConnectionError if there is none."""
        if self._transport is None:
            raise ConnectionError("the connection has ended")
        self._transport.writelines(framed(head, *body))

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio calls it."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, but by name

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio calls it."""
        self._transport = None
        self._lost()

    def get_buffer(self, sizehint: int) -> memoryview:
        """As asyncio calls it."""
        return self._come[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """As asyncio calls it."""
        self._filled += nbytes
        come, filled, at, size = self._come, self._filled, 0, _LENGTHS.size
        while filled - at >= _LENGTHS.size:
            head, body = _LENGTHS.unpack_from(come, at)
            size = _LENGTHS.size + head + body
            if filled - at < size:
                break
            middle = at + _LENGTHS.size + head
            try:
                message = self._decoder.decode(come[at + _LENGTHS.size : middle])
            except msgspec.MsgspecError:
                self.close()
                return
            at += size
            self._taken(message, bytes(come[middle:at]))
            size = _LENGTHS.size
        self._keep(at, size)

    def _keep(self, at: int, size: int) -> None:
        """What has come behind ``at`` goes to the front, with room for a message of ``size`` bytes."""
        come, self._filled = self._come, self._filled - at
        if max(size, _USUAL) != len(come):
            self._come = memoryview(bytearray(max(size, _USUAL)))
        if self._filled and (at or self._come is not come):
            self._come[: self._filled] = bytes(come[at : at + self._filled])


def failure_of(error: BaseException) -> Failure:
    """What a front is told of an error."""
    match error:
        case Refusal():
            return Failure(why=int(error.why), text=str(error), retry_after_s=error.retry_after_s)
        case DataError():
            return Failure(why=0, text=str(error))
        case TimeoutError():
            return Failure(why=int(Why.TOO_LATE), text="the answer did not come in time")
    return Failure(why=-1, text=f"{type(error).__name__} in a worker; its log says more")


def error_of(failure: Failure) -> Exception:
    """The error that a worker told of, as if it had been raised here."""
    if failure.why > 0:
        return Refusal(Why(failure.why), failure.text, retry_after_s=failure.retry_after_s)
    return DataError(failure.text) if failure.why == 0 else RuntimeError(failure.text)
