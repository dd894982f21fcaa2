"""What one request, one client and all of them together may take of the HTTP server. Knows nothing of how it is held to."""

from dataclasses import dataclass

from larix.errors import ConfigError
from larix.serve.reach import check_limits

LEAST_HEADER_BYTES = 8192  # of the server: it reads bodies through the same buffer


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """``header_bytes``: of a request's line and headers. ``body_bytes``: of a body, as sent and unpacked. ``json_bytes``: of the
    JSON in it, which is read with the GIL held where it is not plain, while neighbours wait. ``held_bytes``: of all bodies that
    are being read or answered. ``candidates``: of a request. ``connections``: open at a time; further ones wait to be accepted.

    In seconds: ``header_s`` for a request's head, and how long a connection may be idle; ``body_s`` for its body; ``write_s``
    that a client may take nothing of its answer; ``timeout_s`` to answer, if the client says nothing; ``longest_s`` that it may
    say; ``stop_s`` to answer those under way when the server stops.
    """

    header_bytes: int = 16 << 10
    body_bytes: int = 16 << 20
    json_bytes: int = 4 << 20
    held_bytes: int = 256 << 20
    candidates: int = 10_000
    connections: int = 4096
    header_s: float = 10.0
    body_s: float = 10.0
    write_s: float = 20.0
    timeout_s: float = 1.0
    longest_s: float = 60.0
    stop_s: float = 10.0

    def __post_init__(self) -> None:
        check_limits(self)
        if self.header_bytes < LEAST_HEADER_BYTES:
            raise ConfigError(
                f"limit header_bytes is {self.header_bytes}; the server needs {LEAST_HEADER_BYTES} or more"
            )
        if self.held_bytes < self.body_bytes:
            raise ConfigError(
                f"limit held_bytes is {self.held_bytes} but one body may have {self.body_bytes}; set it to that or more"
            )
