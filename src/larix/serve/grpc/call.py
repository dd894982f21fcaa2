"""One call over gRPC, and who answers calls of its kind. Knows nothing of connections, nor of what is asked."""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from larix.errors import DataError
from larix.serve.grpc.limits import GrpcLimits


@dataclass(kw_only=True, slots=True, eq=False)
class Call:
    """``id``: the client's, by its metadata until the message tells another, or made. ``bearer``: who calls, "" where nobody
    is asked. ``message``: as it came. ``trace``: the trace that it is part of, as its metadata carry it (W3C traceparent).

    ``arrived`` and ``deadline``: by ``time.monotonic()``; the latter is the client's, inf if it told none.
    """

    id: str
    arrived: float
    bearer: str = ""
    message: bytes = b""
    deadline: float = math.inf
    trace: Mapping[str, str] = field(default_factory=dict)

    def due(self, told: bool, limits: GrpcLimits) -> float:
        """When the answer is due. ``told``: whether the message says so itself, too."""
        seconds = limits.longest_s if told or self.deadline < math.inf else limits.timeout_s
        return min(self.deadline, self.arrived + seconds)


Handler = Callable[[Call], Awaitable[bytes]]


def parsed(kind: Any, data: bytes | memoryview) -> Any:
    """The message of class ``kind`` in ``data``. DataError if it is none."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise DataError(f"this is no {kind.DESCRIPTOR.full_name}: {error}") from error
