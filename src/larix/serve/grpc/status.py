"""Which gRPC status says why a request is not answered, and when to come again. Knows nothing of what was asked."""

import logging
from typing import NamedTuple

import grpc

from larix.errors import DataError, LarixError
from larix.serve.grpc.messages import message
from larix.serve.refusal import Refusal, Why
from larix.serve.sentence import sentence

_LOG = logging.getLogger(__name__)
_CODES = {
    Why.UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Why.EXPIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Why.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,  # not exhausted: coming again does not help
    Why.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Why.BROKEN: grpc.StatusCode.INTERNAL,
    Why.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Why.TOO_LATE: grpc.StatusCode.DEADLINE_EXCEEDED,
}

Metadata = tuple[tuple[str, str | bytes], ...]


class Unauthenticated(LarixError):  # noqa: N818 - who asks is not always at fault
    """No token that opens came with the call."""


class Status(NamedTuple):
    """What a call ends with instead of an answer."""

    code: grpc.StatusCode
    text: str
    metadata: Metadata = ()


def status_of(error: Exception, id: str) -> Status:
    """What is said of an error. A fault of ours is told by the request's id alone, and logged.

    A refusal that says when to come again carries it as google.rpc.RetryInfo and as gRPC's own push-back, which clients with a
    retry policy keep to.
    """
    text = sentence(error)
    match error:
        case Refusal():
            code = _CODES[error.why]
            return Status(code, text, _retry(code, text, error.retry_after_s))
        case DataError():
            return Status(grpc.StatusCode.INVALID_ARGUMENT, text)
        case Unauthenticated():
            return Status(grpc.StatusCode.UNAUTHENTICATED, text)
        case TimeoutError():
            return Status(grpc.StatusCode.DEADLINE_EXCEEDED, "the answer did not come in time")
    _LOG.error("request %s failed", id, exc_info=error)
    return Status(grpc.StatusCode.INTERNAL, f"the server failed; its log says more of request {id:.80}")


def _retry(code: grpc.StatusCode, text: str, after_s: float | None) -> Metadata:
    if after_s is None:
        return ()
    nanos = max(0, round(after_s * 1e9))
    delay = message("larix.details.Duration")(seconds=nanos // 10**9, nanos=nanos % 10**9)
    info = message("larix.details.Any")(
        type_url="type.googleapis.com/google.rpc.RetryInfo",
        value=message("larix.details.RetryInfo")(retry_delay=delay).SerializeToString(),
    )
    status = message("larix.details.Status")(code=code.value[0], message=text, details=[info])
    pushback = str(-(-nanos // 10**6))
    return (
        ("grpc-status-details-bin", status.SerializeToString()),
        ("grpc-retry-pushback-ms", pushback),
    )
