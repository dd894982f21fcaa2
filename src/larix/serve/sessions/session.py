"""One session: a request's side, what computed it, and until when it is kept. Knows nothing of other sessions."""

from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from larix.serve.request import Answer, Request
from larix.serve.scorer import User
from larix.serve.service import Columns, Opened


class Side(Protocol):
    """A request's side together with the version that computed it: as long as anyone holds it, that version is in memory."""

    @property
    def user(self) -> User:
        """What was computed."""
        ...

    @property
    def columns(self) -> Columns | None:
        """How candidates for that version are read, if it was told."""
        ...

    def score(self, request: Request) -> "Future[Answer]":
        """Score ``request.candidates`` against it, by that version. The future raises DataError or Refusal."""
        ...


class Ending(StrEnum):
    """How a session ended, as a client is told."""

    CLOSED = "was closed"
    UNUSED = "expired: it was not used for its ttl_s"
    OLD = "expired: it was open for as long as a session may be"
    DRAINED = "was ended as the server stops"


Opening = tuple[bytes, str]  # a bearer and the id of a request that opens


@dataclass(slots=True, eq=False)
class Session:
    """``bearer``: a digest. ``side``: None once it was let go of. ``opening``: what opened it, for its retries.

    ``used_s``, ``last_s``: of the clock: its last use, and when it ends however it is used. ``uses``: scores under way; its
    bytes are in use until there is none.
    """

    opened: Opened
    bearer: bytes
    side: Side | None
    size: int
    used_s: float
    last_s: float
    opening: Opening
    uses: int = 0
    ending: Ending | None = None

    @property
    def ends_s(self) -> float:
        """When it ends unless it is used again."""
        return min(self.used_s + self.opened.ttl_s, self.last_s)

    def ends_by(self, now_s: float) -> Ending | None:
        """How it has ended by ``now_s``, if it has. While it is scored against it is in use."""
        if self.ending is not None:
            return self.ending
        if now_s >= self.last_s:
            return Ending.OLD
        return Ending.UNUSED if not self.uses and now_s >= self.ends_s else None
