"""Which sessions are open, how others ended, and the bytes of all. Knows nothing of how anything is computed, nor of futures.

Whoever uses it holds a lock.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from larix.serve.ledger import Ledger
from larix.serve.refusal import Refusal, Why
from larix.serve.service import Opened
from larix.serve.sessions.answers import held_bytes
from larix.serve.sessions.once import check_mark
from larix.serve.sessions.session import Ending, Opening, Session, Side
from larix.serve.sessions.settings import SessionSettings
from larix.serve.sessions.wheel import Wheel

OBJECTS = 4096  # bytes of a session that are not in its side's arrays


@dataclass(slots=True)
class Counts:
    """Since the start; see `SessionStats`."""

    opened: int = 0
    closed: int = 0
    expired: int = 0
    drained: int = 0
    full: int = 0
    scored: int = 0
    repeated: int = 0
    unknown: int = 0
    ended: int = 0


class Register:
    """Sessions by id. ``ended``: called with the id of each that ends. ``closing``: whether no more are opened."""

    def __init__(
        self, settings: SessionSettings, clock: Callable[[], float], ended: Callable[[str], None]
    ) -> None:
        self.counts = Counts()
        self.closing = False
        self._settings = settings
        self._clock = clock
        self._tell = ended
        self.bytes = Ledger(settings.side_bytes, int(settings.side_bytes * settings.bearer_share))
        self._sessions: dict[str, Session] = {}
        self._ended: dict[str, tuple[bytes, Ending]] = {}  # the oldest first
        self._openings: dict[Opening, tuple[Session, int]] = {}  # with its mark
        self._wheel: Wheel[str] = Wheel(tick_s=settings.tick_s, now_s=clock())

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, id: str) -> Session | None:
        """The session, unless its end was noticed."""
        return self._sessions.get(id)

    def find(self, id: str, bearer: bytes) -> Session:
        """The session, if it is this bearer's and has not ended; that is a use of it. Refusal otherwise."""
        session = self._sessions.get(id)
        if session is not None:
            now = self._clock()
            if (ending := session.ends_by(now)) is not None:
                self.end(session, ending)
            elif session.bearer == bearer:
                session.used_s = now
                return session
        raise self.refusal(id, bearer)

    def refusal(self, id: str, bearer: bytes) -> Refusal:
        """Why there is no such session."""
        whose, ending = self._ended.get(id, (b"", None))
        if ending is None or whose != bearer:
            self.counts.unknown += 1
            return Refusal(
                Why.UNKNOWN,
                "there is no such session: it was opened at another server, before this one started, with another "
                "bearer token, or ended long ago; open one",
            )
        self.counts.ended += 1
        return Refusal(Why.EXPIRED, f"this session {ending}; open another and score there")

    def has_opened(self, opening: Opening) -> bool:
        """Whether a request opened a session that is still here."""
        return opening in self._openings

    def opened_by(self, opening: Opening, mark: int) -> Opened | None:
        """What a request opened before, if it is still open. DataError if ``mark`` is of another question."""
        session, known = self._openings.get(opening, (None, 0))
        if session is None:
            return None
        check_mark(mark, known)
        now = self._clock()
        if (ending := session.ends_by(now)) is not None:
            self.end(session, ending)
            return None
        session.used_s = now
        self.counts.repeated += 1
        return session.opened

    def add(self, side: Side, ttl_s: float, opening: Opening, mark: int) -> Opened:
        """Keep a side. Refusal as `check_room`."""
        user, bearer, now = side.user, opening[0], self._clock()
        size = OBJECTS + max(user.size_bytes, held_bytes(user.arrays.values()))
        self.check_room(bearer, size)
        id = self._settings.prefix + secrets.token_urlsafe(24)
        opened = Opened(id=id, stamp=user.stamp, ttl_s=ttl_s, missing=user.missing)
        session = Session(
            opened=opened,
            bearer=bearer,
            side=side,
            size=size,
            used_s=now,
            last_s=now + self._settings.life_s,
            opening=opening,
        )
        self.bytes.take(bearer, size)
        self._sessions[opened.id] = session
        self._openings[opening] = session, mark
        self._wheel.put(opened.id, session.ends_s)
        self.counts.opened += 1
        return opened

    def check_room(self, bearer: bytes, size: int = OBJECTS) -> None:
        """Refusal unless so many bytes more may be kept for a bearer: UNAVAILABLE, TOO_LARGE or OVERLOADED."""
        if self.closing:
            raise Refusal(
                Why.UNAVAILABLE, "the server is about to stop and opens no sessions; ask another one"
            )
        if size > self.bytes.each:
            raise Refusal(
                Why.TOO_LARGE,
                f"a session of {size} bytes is more than the {self.bytes.each} that one bearer may hold",
            )
        lack = self.bytes.lacks(bearer, size)
        if not lack:
            return
        self.counts.full += 1
        wait_s = max((self.next_s() or 0.0) - self._clock(), self._settings.tick_s)
        whose, most = ("you hold", self.bytes.each) if lack == "each" else ("are held", self.bytes.whole)
        raise Refusal(
            Why.OVERLOADED,
            f"sessions that {whose} take all of the {most} bytes they may; close those that are done with, or come again",
            retry_after_s=wait_s,
        )

    def used(self, session: Session) -> None:
        """One of its scores is over."""
        session.uses -= 1
        session.used_s = self._clock()
        self._let_go(session)

    def end(self, session: Session, ending: Ending) -> None:
        """It is open no more. Its bytes are given back, at once or when its last score is over."""
        id = session.opened.id
        session.ending = ending
        del self._sessions[id]
        del self._openings[session.opening]
        self._wheel.cancel(id)
        self._ended[id] = session.bearer, ending
        while len(self._ended) > self._settings.ended:
            del self._ended[next(iter(self._ended))]
        if ending is Ending.CLOSED:
            self.counts.closed += 1
        elif ending is Ending.DRAINED:
            self.counts.drained += 1
        else:
            self.counts.expired += 1
        self._let_go(session)
        self._tell(id)

    def end_all(self) -> int:
        """End all that are open, as the server stops; how many."""
        left = list(self._sessions.values())
        for session in left:
            self.end(session, Ending.DRAINED)
        return len(left)

    def sweep(self) -> None:
        """End those whose time is over."""
        now = self._clock()
        for id in self._wheel.advance(now):
            session = self._sessions[id]
            ending = session.ends_by(now)
            if ending is not None:
                self.end(session, ending)
            else:  # it was used since, or is in use
                later = session.ends_s if session.ends_s > now else now + session.opened.ttl_s
                self._wheel.put(id, min(later, session.last_s))

    def next_s(self) -> float | None:
        """When `sweep` may have something to do; None while nothing is open."""
        return self._wheel.next_s()

    def _let_go(self, session: Session) -> None:
        if session.ending is not None and not session.uses and session.side is not None:
            session.side = None
            self.bytes.give(session.bearer, session.size)
