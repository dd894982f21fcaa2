"""What goes back over HTTP, and how every mistake becomes a status with a sentence. Knows nothing of what was asked."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from larix.errors import DataError, LarixError
from larix.serve.refusal import Refusal
from larix.serve.sentence import sentence

Headers = tuple[tuple[str, str], ...]

JSON = "application/json"
BINARY = "application/octet-stream"
HTML = "text/html; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"  # as Prometheus asks for

_ENCODER = msgspec.json.Encoder()


class Rejected(LarixError):  # noqa: N818 - what rejects is not at fault
    """A request that HTTP itself forbids to answer. ``headers``: of the answer that says so."""

    def __init__(self, status: int, text: str, headers: Headers = ()) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """A status, a body and what it is."""

    status: int
    body: bytes
    kind: str = JSON
    headers: Headers = ()


def reply_of(document: Any, status: int = 200) -> Reply:
    """A document as JSON; numbers that are not finite become null."""
    return Reply(status, _ENCODER.encode(document))


def failure_of(error: Exception, id: str) -> Reply:
    """What is said of an error: a sentence, and when to come again. A fault of ours is told by the request's id alone."""
    headers: Headers = ()
    told: dict[str, Any] = {"error": sentence(error), "id": id}
    match error:
        case Rejected():
            status, headers = error.status, error.headers
        case Refusal():
            status = int(error.why)
            if error.retry_after_s is not None:
                told["retry_after_s"] = error.retry_after_s
                headers = (("retry-after", str(max(1, math.ceil(error.retry_after_s)))),)
        case DataError():
            status = 400
        case TimeoutError():
            status, told["error"] = 504, "the answer did not come in time"
        case _:
            status, told["error"] = 500, f"the server failed; its log says more of request {id}"
    return Reply(status, _ENCODER.encode(told), headers=headers)


def packed(reply: Reply, encoding: str) -> Reply:
    """The reply with its body compressed by ``encoding``, gzip or deflate: quickly rather than much. Releases the GIL."""
    packer = zlib.compressobj(level=1, wbits=31 if encoding == "gzip" else 15)
    body = packer.compress(reply.body) + packer.flush()
    return Reply(reply.status, body, reply.kind, (*reply.headers, ("content-encoding", encoding)))


def encoding_of(accepted: str | None, offered: Sequence[str] = ("gzip", "deflate")) -> str | None:
    """The first of ``offered`` that an Accept-Encoding header takes; None if it takes the body as it is only."""
    if not accepted:
        return None
    taken = set()
    for each in accepted.lower().split(","):
        name, _, weight = each.partition(";")
        if weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            taken.add(name.strip())
    return next((each for each in offered if each in taken), None)
