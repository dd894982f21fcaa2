"""One call over gRPC, and who answers calls of its kind. Knows nothing of connections, nor of what is asked."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from larix.errors import DataError
from larix.serve.grpc.limits import GrpcLimits

LATE_S = 0.25
"""After its deadline, how long an answer may take to be refused as too late by whoever computes it."""

T = TypeVar("T")


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


async def answered(future: "Future[T]", deadline: float) -> T:
    """What a future holds. TimeoutError if it holds nothing for long after ``deadline``; the work is cancelled then."""
    async with asyncio.timeout(max(0.0, deadline - time.monotonic()) + LATE_S):
        return await asyncio.wrap_future(future)
