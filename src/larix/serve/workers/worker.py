"""A worker's side: questions of a front come over a socket of this machine, answers go back. Knows nothing of what is asked."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from larix.serve.engine.lent import lent
from larix.serve.refusal import Refusal
from larix.serve.workers.frames import PING, Asked, Frames, Told, failure_of

_LOG = logging.getLogger(__name__)

Answer = Callable[[Asked, bytes], Awaitable[tuple[Told, bytes]]]
"""Answers a kind of question; what it raises is told to whoever asked."""


def full_of(room: Callable[[], None]) -> Told | None:
    """What is told when ``room`` raises Refusal, as it does where no question of a kind would be taken."""
    try:
        room()
    except Refusal as error:
        return Told(failure=failure_of(error), full=True)
    return None


@asynccontextmanager
async def attend(path: Path, answers: Mapping[str, Answer]) -> AsyncIterator[None]:
    """Answer whoever connects to ``path``, a socket that is made, while this is entered. Nobody else of this machine may.

    This thread is lent to engines meanwhile: its loop has nothing to do but to answer.
    """
    loop, answers = asyncio.get_running_loop(), {PING: _pong, **answers}
    tasks: set[asyncio.Task[None]] = set()
    open_ends: set[Frames[Asked]] = set()

    def connected() -> Frames[Asked]:
        def taken(asked: Asked, body: bytes) -> None:
            task = asyncio.create_task(_answer(end, answers, asked, body))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        end: Frames[Asked] = Frames(Asked, taken, lambda: open_ends.discard(end))
        open_ends.add(end)
        return end

    before = os.umask(0o177)
    try:
        server = await loop.create_unix_server(connected, path)
    finally:
        os.umask(before)
    try:
        with lent(loop.call_soon):
            yield
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        for end in list(open_ends):
            end.close()


async def _pong(asked: Asked, body: bytes) -> tuple[Told, bytes]:
    return Told(), body


async def _answer(end: Frames[Asked], answers: Mapping[str, Answer], asked: Asked, body: bytes) -> None:
    reply = b""
    try:
        told, reply = await answers[asked.what](asked, body)
        told.number = asked.number
    except Exception as error:
        failure = failure_of(error)
        if failure.why < 0:
            _LOG.error("%s failed", asked.what, exc_info=error, extra={"request": asked.id})
        told = Told(number=asked.number, failure=failure)
    try:
        end.send(told, reply)
    except ConnectionError:
        return  # the front is gone, and whoever asked with it
