"""What one call and all of them together may take of the gRPC server. Knows nothing of how it is held to."""

from dataclasses import dataclass

from larix.serve.reach import check_limits


@dataclass(frozen=True, kw_only=True, slots=True)
class GrpcLimits:
    """``message_bytes``: of a message, unpacked. ``metadata_bytes``: of a call's. ``calls``: under way at a time; further ones
    are refused, so that messages never take more than ``calls * message_bytes``. ``candidates``: of a request.

    In seconds: ``body_s`` for a connection's first bytes, and for a call's message to arrive whole; ``idle_s`` that a connection
    may be idle; ``alive_s`` between questions to a silent client whether it is still there, and that it may take to answer or to
    take what is sent; ``timeout_s`` to answer, if the client says nothing; ``longest_s`` that it may say; ``stop_s`` to answer
    those under way when the server stops.
    """

    message_bytes: int = 4 << 20
    metadata_bytes: int = 16 << 10
    calls: int = 256
    candidates: int = 10_000
    body_s: float = 10.0
    idle_s: float = 300.0
    alive_s: float = 20.0
    timeout_s: float = 1.0
    longest_s: float = 60.0
    stop_s: float = 10.0

    def __post_init__(self) -> None:
        check_limits(self)
