"""A request's body, read within limits: of size, of time, of all bodies together. Knows nothing of what it holds."""

import asyncio
import zlib
from typing import Protocol

from larix.errors import DataError
from larix.serve.http.limits import Limits
from larix.serve.http.reply import Rejected
from larix.serve.refusal import Refusal, Why

LONG = 64 << 10  # bytes from which on unpacking is worth a thread
CLOSE = (("connection", "close"),)


class Carrier(Protocol):
    """What brings the body, whole."""

    async def __call__(self) -> bytes:
        """The body; an exception if the client went away or sends garbage."""
        ...


class Held:
    """The bytes of one request under way; give them back by ``release``."""

    def __init__(self, bodies: "Bodies") -> None:
        self._bodies, self._bytes = bodies, 0

    def take(self, size: int) -> None:
        """Keep room for ``size`` more. Refusal (OVERLOADED) if there is none."""
        self._bodies.take(size)
        self._bytes += size

    def release(self) -> None:
        """Give all of it back."""
        self._bodies.held_bytes -= self._bytes
        self._bytes = 0


class Bodies:
    """The bodies of all requests under way, in one event loop. ``held_bytes``: of all of them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held_bytes = 0

    def take(self, size: int) -> None:
        """Keep room for ``size`` bytes. Refusal (OVERLOADED) if there is none."""
        if size and self.held_bytes + size > self._limits.held_bytes:
            text = f"requests of {self.held_bytes} bytes are under way and there is no room for {size} more"
            raise Refusal(Why.OVERLOADED, text, retry_after_s=1.0)
        self.held_bytes += size

    async def read(self, carrier: Carrier, size: int, encoding: str | None, held: Held) -> bytes:
        """The body of ``size`` bytes, unpacked; ``held`` then has room for both.

        Rejected: it does not come in time (408) or is packed in a way not known here (415). DataError if it breaks off or
        cannot be unpacked. Refusal: TOO_LARGE if it would be too large unpacked, OVERLOADED if there is no room.
        """
        held.take(size)
        try:
            async with asyncio.timeout(self._limits.body_s):
                body = await carrier()
        except TimeoutError:
            text = f"the body of {size} bytes did not come within {self._limits.body_s:g} s"
            raise Rejected(408, text, CLOSE) from None
        except Exception as error:
            raise DataError(f"the body breaks off: {error}") from error
        if len(body) != size:
            raise DataError(f"the body has {len(body)} bytes; its headers say {size}")
        if encoding is None or encoding in ("", "identity"):
            return body
        if encoding not in ("gzip", "deflate"):
            raise Rejected(415, f"the body is packed by {encoding!r:.40}; gzip and deflate are known")
        most = self._limits.body_bytes
        found = unpacked(body, most) if size < LONG else await asyncio.to_thread(unpacked, body, most)
        held.take(len(found))
        return found


def size_of(length: str | None, chunked: bool, most: int) -> int:
    """How many bytes a body has by its headers, 0 if there is none.

    Rejected: a body that does not say its length (411), since one that breaks off could not be told from a whole one.
    Refusal (TOO_LARGE) for more than ``most``.
    """
    if chunked:
        raise Rejected(411, "the body says no length; send it with Content-Length, not in chunks", CLOSE)
    if length is None:
        return 0
    if not length.isdecimal() or not length.isascii():
        raise Rejected(400, f"Content-Length is {length!r:.40}; expected a number", CLOSE)
    if (size := int(length[:20])) > most:
        raise Refusal(Why.TOO_LARGE, f"the body has {length:.20} bytes; at most {most} are allowed")
    return size


def unpacked(body: bytes, most: int) -> bytes:
    """What a body packed by gzip or deflate holds; no more than ``most`` bytes are ever made of it."""
    unpacker = zlib.decompressobj(wbits=47)  # either, by its first bytes
    try:
        found = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise DataError(f"the body cannot be unpacked: {error}") from error
    if len(found) > most:
        raise Refusal(
            Why.TOO_LARGE, f"the body has more than {most} bytes unpacked; that is the most allowed"
        )
    if not unpacker.eof or unpacker.unused_data:
        raise DataError("the packed body breaks off, or something follows it")
    return found
