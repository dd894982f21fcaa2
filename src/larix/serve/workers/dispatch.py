"""Which worker a question goes to, and what becomes of it if that worker ends. Knows nothing of processes or of what is asked.

The worker with the least under way takes the next question, so that none waits while another is idle.
"""

import asyncio
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from larix.serve.refusal import Refusal, Why
from larix.serve.workers.frames import Asked, Failure, Frames, Raw, Told, error_of

_EACH = 4096
"""What a question weighs beside the bytes of its body: what is under way is told by bytes, for so is the work in it."""

_AGAIN_S = 0.1
_FULL_S = 0.02  # that a worker is believed
_NEWEST = 0.1  # of a worker's speed, with each answer


class _Link:
    """A connection to one worker from one event loop, ``loop``; questions of any number at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[tuple[Told, bytes]]] = {}
        self._end: Frames[Told] = Frames(Told, self._taken, self._lost)

    @property
    def connected(self) -> bool:
        return self._end.connected

    async def connect(self, path: Path) -> None:
        await self._loop.create_unix_connection(lambda: self._end, str(path))

    def ask(self, asked: Asked, *body: Raw) -> "asyncio.Future[tuple[Told, bytes]]":
        asked.number = next(self._numbers)
        self._end.send(asked, *body)
        future: asyncio.Future[tuple[Told, bytes]] = self._loop.create_future()
        self._asked[asked.number] = future
        return future

    def _taken(self, told: Told, body: bytes) -> None:
        future = self._asked.pop(told.number, None)
        if future is not None and not future.done():  # else whoever asked has gone
            future.set_result((told, body))

    def _lost(self) -> None:
        for future in self._asked.values():
            if not future.done():
                future.set_exception(ConnectionError("the worker has ended"))
        self._asked.clear()


@dataclass(slots=True, eq=False)
class Member:
    """A worker as the front sees it. ``up``: whether it is asked. ``weight``: of what is under way there.

    ``full_until``: it has said that it takes no more; until then, by ``time.monotonic()``, that is believed. ``speed``: how much
    weight it does away with in a second, as the newest answers tell; 0 until there are any.
    """

    path: Path
    up: bool = False
    weight: int = 0
    full_until: float = 0.0
    speed: float = 0.0
    links: dict[asyncio.AbstractEventLoop, tuple[_Link | None, asyncio.Lock]] = field(default_factory=dict)

    async def ask(self, asked: Asked, *body: Raw, tells: bool = False) -> tuple[Told, bytes]:
        """Ask it, from any loop. OSError if it has ended, or is not there, before it has answered.

        ``tells``: the time of the answer is one of scoring, and tells how fast it is.
        """
        weight = _EACH + sum(map(len, body))
        self.weight += weight
        ahead, began = self.weight, time.monotonic()
        try:
            loop = asyncio.get_running_loop()
            link, _ = self.links.get(loop, (None, None))
            if link is None or not link.connected:
                link = await self._link(loop)
            told, reply = await link.ask(asked, *body)
        finally:
            self.weight -= weight
        if tells and told.failure is None:
            seen = ahead / max(time.monotonic() - began, 1e-6)
            self.speed += (_NEWEST if self.speed else 1.0) * (seen - self.speed)
        return told, reply

    def full(self, now: float, wait_s: float) -> bool:
        """Whether it has said so, or what is under way there takes longer than ``wait_s``."""
        return now < self.full_until or self.weight > wait_s * self.speed > 0

    async def _link(self, loop: asyncio.AbstractEventLoop) -> _Link:
        """A connection, made by the first who needs it."""
        _, turn = self.links.setdefault(loop, (None, asyncio.Lock()))
        async with turn:
            link = self.links[loop][0]
            if link is None or not link.connected:
                link = _Link(loop)
                await link.connect(self.path)
                self.links[loop] = link, turn
        return link


class Dispatch:
    """``members``: all workers, by number; whoever looks after their processes says which are ``up``.

    ``wait_s``: seconds of work that one may have, as ``EngineSettings`` has it; here, what it has not yet read counts, too.
    """

    def __init__(self, members: list[Member], *, wait_s: float = 0.05) -> None:
        self.members = members
        self._wait_s = wait_s
        self._full: Failure | None = None  # what the last one said that was
        self._turn = 0  # who is asked while nothing is under way

    @property
    def up(self) -> list[int]:
        """The workers that are asked."""
        return [at for at, member in enumerate(self.members) if member.up]

    def check_room(self) -> None:
        """Raise Refusal (OVERLOADED) while all workers have as much to do as may wait, or have just said so."""
        now, full = time.monotonic(), 0
        for (
            member
        ) in self.members:  # whoever has room answers for all: this is asked before and behind every body
            if member.up:
                if not member.full(now, self._wait_s):
                    return
                full += 1
        if full:
            text = f"all {full} worker processes are full; come again later"
            raise error_of(self._full or Failure(why=Why.OVERLOADED, text=text, retry_after_s=_AGAIN_S))

    async def ask(
        self,
        what: str,
        *body: Raw,
        worker: int | None = None,
        again: bool = False,
        id: str = "",
        bearer: str = "",
        names: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        arrived: float = 0.0,
        deadline: float | None = None,
    ) -> tuple[Told, bytes]:
        """Ask ``worker``, or the one with the least under way; raises what it raised.

        ``body``: in any number of parts. ``again``: whether asking twice does no harm: then another worker is asked if this one
        ends before it answers, is full, or is about to stop. Refusal UNAVAILABLE if no worker is there, or it ended with what it
        had begun.
        """
        tried: set[int] = set()
        while True:
            at = self._least(tried) if worker is None else worker
            member = self.members[at]
            asked = Asked(
                number=0,
                what=what,
                id=id,
                bearer=bearer,
                names=names,
                headers=headers or {},
                arrived=arrived,
                deadline=deadline,
            )
            tried.add(at)
            again = again and worker is None
            try:
                told, reply = await member.ask(asked, *body, tells=again and any(body))
            except OSError:
                if again and self._others(tried):
                    continue
                raise Refusal(
                    Why.UNAVAILABLE,
                    "the worker process that this went to has ended, and another is being started; come again",
                    retry_after_s=1.0,
                ) from None
            if told.failure is None:
                return told, reply
            if told.full:
                member.full_until, self._full = time.monotonic() + _FULL_S, told.failure
            elsewhere = told.full or told.failure.why == Why.UNAVAILABLE
            if not (elsewhere and again and self._others(tried)):
                raise error_of(told.failure)

    async def each(self, what: str, body: bytes = b"") -> list[tuple[Told, bytes]]:
        """The answers of all workers that are up, one asked after the other. Raises what the first raises that does."""
        found = [await self.ask(what, body, worker=at) for at in self.up]
        if not found:
            raise _nobody()
        return found

    def _others(self, tried: set[int]) -> bool:
        return not tried.issuperset(self.up)

    def _least(self, tried: set[int]) -> int:
        now, count, found, least = time.monotonic(), len(self.members), -1, (True, 0)
        self._turn = (self._turn + 1) % count
        for at in (*range(self._turn, count), *range(self._turn)):
            member = self.members[at]
            if member.up and at not in tried:
                has = now < member.full_until, member.weight
                if found < 0 or has < least:
                    found, least = at, has
        if found < 0:
            raise _nobody()
        return found


def _nobody() -> Refusal:
    return Refusal(Why.UNAVAILABLE, "no worker process is ready; come again", retry_after_s=1.0)
