"""Why a well-formed request is not answered, with the HTTP status that says so. Knows nothing of HTTP otherwise.

A malformed request is a plain DataError, which is 400.
"""

from enum import IntEnum

from larix.errors import LarixError


class Why(IntEnum):
    """Reasons to refuse; the value is the HTTP status."""

    UNKNOWN = 404  # there is no such model, version or session
    EXPIRED = 410  # the session was there and has ended; open another
    TOO_LARGE = 413  # the request holds more than is allowed
    OVERLOADED = 429  # more is asked than can be answered in time; come again later
    BROKEN = 500  # a fault of the server's own while it computed this one
    UNAVAILABLE = 503  # not now: loading, draining, or something that is needed is lost
    TOO_LATE = 504  # the deadline has passed; nothing more is computed for it


class Refusal(LarixError):  # noqa: N818 - what refuses is not always at fault
    """A request that is not answered. ``retry_after_s``: when to come again, None if that would not help."""

    def __init__(self, why: Why, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.why = why
        self.retry_after_s = retry_after_s
