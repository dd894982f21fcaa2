"""A line of the log for every call that was answered. Knows nothing of protocols beyond what a call tells of itself."""

import logging
from typing import Protocol

_LOG = logging.getLogger("larix.serve.access")


class Call(Protocol):
    """What is told of a call; HTTP's ``Done`` is one. ``seconds``: from its arrival to its answer."""

    @property
    def id(self) -> str:
        """The request's id."""
        ...

    @property
    def bearer(self) -> str:
        """Who asked; a name, never the token."""
        ...

    @property
    def method(self) -> str:
        """As GET."""
        ...

    @property
    def path(self) -> str:
        """The route; "" if there is none."""
        ...

    @property
    def status(self) -> int:
        """How it was answered."""
        ...

    @property
    def seconds(self) -> float:
        """How long it took."""
        ...

    @property
    def received_bytes(self) -> int:
        """Of the body."""
        ...

    @property
    def sent_bytes(self) -> int:
        """Of the answer."""
        ...

    @property
    def error(self) -> Exception | None:
        """Why it was not answered as asked."""
        ...


def access(call: Call) -> None:
    """Log a call: as an error from status 500 on, but for those that say to come again."""
    level = logging.ERROR if call.status >= 500 and call.status not in (503, 504) else logging.INFO
    if not _LOG.isEnabledFor(level):
        return
    told: dict[str, object] = {
        "request": call.id,
        "bearer": call.bearer,
        "method": call.method,
        "path": call.path,
        "status": call.status,
        "ms": round(call.seconds * 1e3, 3),
        "received_bytes": call.received_bytes,
        "sent_bytes": call.sent_bytes,
    }
    if call.error is not None:
        told["why"] = str(call.error)
    _LOG.log(level, "%s %s %d", call.method, call.path or "-", call.status, extra=told)
