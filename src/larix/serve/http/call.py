"""One call over HTTP, and who answers calls of its kind. Knows nothing of sockets, nor of what is asked."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from larix.errors import DataError
from larix.serve.http.limits import Limits
from larix.serve.http.reply import Reply
from larix.serve.refusal import Refusal, Why
from larix.serve.service import Service

T = TypeVar("T")


class Headers(Protocol):
    """The headers of a request, by name in small letters."""

    def get(self, key: str, default: None = None, /) -> str | None:
        """The first value, None if there is none or it is not text."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Call:
    """``id``: the client's, or made. ``bearer``: who calls, "" where nobody is asked. ``names``: what stands for ``{}`` in the
    route's path. ``body``: whole and unpacked. ``arrived``: of its head, by ``time.monotonic()``.
    """

    id: str
    bearer: str
    names: tuple[str, ...]
    headers: Headers
    body: bytes
    arrived: float

    def deadline(self, timeout_ms: float | None, limits: Limits) -> float:
        """When the answer is due, by ``time.monotonic()``; ``timeout_ms`` after it arrived, within ``limits``."""
        asked = limits.timeout_s if timeout_ms is None else timeout_ms / 1e3
        return self.arrived + min(asked, limits.longest_s)


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """``path``: with ``{}`` for each part that is a name. ``public``: needs no token.

    ``room``: raises Refusal where calls would be refused whatever they bring: asked before a body is read, and before it is
    handed on.
    """

    method: str
    path: str
    handler: Handler
    public: bool = False
    room: Callable[[], None] | None = None

    @property
    def reads(self) -> bool:
        """Whether calls bring a body that matters."""
        return self.method == "POST"

    @property
    def changes(self) -> bool:
        """Whether calls may do more than read."""
        return self.method != "GET"


def document_of(decoder: "msgspec.json.Decoder[T]", body: bytes | memoryview, limits: Limits) -> T:
    """The JSON of a body. DataError if it is none, or not what is expected. Refusal (TOO_LARGE) if it is too much of it."""
    if len(body) > limits.json_bytes:
        text = f"the body has {len(body)} bytes of JSON; at most {limits.json_bytes} are allowed: send binary tensors"
        raise Refusal(Why.TOO_LARGE, text)
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"the body: {error}") from error
    except RecursionError as error:
        raise DataError("the body: JSON is nested too deep") from error


def named(service: Service, model: str) -> str:
    """The model that is meant, the only one if none is named. DataError if there are several."""
    if model:
        return model
    names = service.names
    if not names:
        raise Refusal(Why.UNAVAILABLE, "no model is loaded", retry_after_s=1.0)
    if len(names) > 1:
        raise DataError(f"there are several models; name one: {', '.join(names)}")
    return names[0]
