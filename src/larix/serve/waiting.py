"""Waiting on an event loop, for so long, for what threads compute. Knows nothing of protocols, nor of what is computed."""

import asyncio
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

LATE_S = 0.25
"""After its deadline, how long an answer may take to be refused as too late by whoever computes it."""

T = TypeVar("T")


async def answered(future: "Future[T]", deadline: float) -> T:
    """What a future holds. TimeoutError if it holds nothing for long after ``deadline``, by ``time.monotonic()``, or others
    cancel it. Nobody waits for it any more when this ends, however it does: the work is cancelled then.

    As ``asyncio.timeout`` around ``asyncio.wrap_future`` would have it, at less than half the cost where the loop's own thread
    computes: nothing is scheduled to wake it.
    """
    loop, waiting = asyncio.get_running_loop(), threading.get_ident()
    told: asyncio.Future[None] = loop.create_future()

    def tell(_: object = None) -> None:
        if not told.done():
            told.set_result(None)

    def hand_over(_: object) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody waits there
            if threading.get_ident() == waiting:  # it is awake
                tell()
            else:
                loop.call_soon_threadsafe(tell)

    future.add_done_callback(hand_over)
    late = loop.call_later(max(0.0, deadline - time.monotonic()) + LATE_S, tell)
    try:
        await told
    finally:
        late.cancel()
        future.cancel()  # which does nothing to one that is done
    try:
        if future.cancelled() or not future.done():
            raise TimeoutError
        return future.result()
    finally:
        del future  # it has the error, which remembers this frame
