"""The three-request protocol: open, score, close. Knows neither sockets nor how anything is computed; see docs/sessions.md."""

import hashlib
import math
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, replace
from functools import partial
from typing import Self

import pyarrow as pa

from larix.errors import ConfigError, DataError
from larix.serve.refusal import Refusal, Why
from larix.serve.request import Answer, Request
from larix.serve.service import Columns, Opened
from larix.serve.sessions.answers import Answers
from larix.serve.sessions.fingerprint import fingerprint
from larix.serve.sessions.future import begun, ready, then
from larix.serve.sessions.once import Once, check_mark
from larix.serve.sessions.register import Register
from larix.serve.sessions.session import Ending, Opening, Session, Side
from larix.serve.sessions.settings import SessionSettings
from larix.serve.sessions.stats import SessionStats

_NO_CANDIDATES = pa.RecordBatch.from_pydict({})
_NAP_S = 1.0  # of the thread that ends sessions, at most

_Asked = tuple[str, str]  # a session and a request's id


class Sessions:
    """Any number of threads may call; what goes wrong with opening and scoring is raised by the futures.

    ``begin``: what computes the side of a request, whose ``candidates`` have no rows, by the version that it is routed to.
    ``clock``: seconds that never go back. `start` a thread that ends what is not used, or call `sweep`; `stop` it in the end.
    """

    def __init__(
        self,
        begin: Callable[[Request], "Future[Side]"],
        settings: SessionSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings = SessionSettings() if settings is None else settings
        self._begin = begin
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._lock = threading.RLock()
        self._fewer = threading.Condition(self._lock)
        self._register = Register(settings, clock, self._ended)
        self._answers = Answers(settings.answer_bytes, int(settings.answer_bytes * settings.bearer_share))
        self._opens: Once[Opening, Opened] = Once(self._lock, self._register.opened_by)
        self._scores: Once[_Asked, Answer] = Once(self._lock, self._answered, self._remember)
        self._both: Once[Opening, tuple[Opened, Answer]] = Once(self._lock)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def open(
        self,
        *,
        model: str,
        context: pa.RecordBatch,
        version: str = "",
        user: int = 0,
        ttl_s: float | None = None,
        bearer: str = "",
        id: str = "",
        deadline: float = math.inf,
    ) -> "Future[Opened]":
        """Compute a request's side and keep it; see `service.Sessions`. A ``ttl_s`` above the longest is that.

        Refusal: OVERLOADED while sessions take all the bytes they may, TOO_LARGE if this one alone would, UNAVAILABLE while
        draining. DataError: the context does not fit, or ``id`` opened a session for another one.
        """
        request = Request(
            id=id,
            candidates=_NO_CANDIDATES,
            context=context,
            model=model,
            version=version,
            user=user,
            deadline=deadline,
        )
        return begun(lambda: self._open(request, ttl_s, self._opening(bearer, id)))

    def score(self, request: Request, *, bearer: str = "") -> "Future[Answer]":
        """Score against an open session; see `service.Sessions`. Any number at once, answered in any order."""
        return begun(lambda: self._score(request, self._digest(bearer)))

    def open_and_score(
        self, request: Request, *, ttl_s: float | None = None, bearer: str = ""
    ) -> "Future[tuple[Opened, Answer]]":
        """`open` with the request's context and `score` its candidates, under one id. If either fails, no session is left."""
        opening = self._opening(bearer, request.id)
        begin = partial(self._open_and_score, request, ttl_s, opening)
        return begun(lambda: self._both.ask(opening, _mark(request), request.deadline, begin))

    def columns(self, session: str, *, bearer: str = "") -> Columns | None:
        """How candidates for a session are read, also when its version answers nobody else any more; a use of it.

        None if ``begin`` does not tell. Refusal as `score`.
        """
        with self._lock:
            side = self._register.find(session, self._digest(bearer)).side
            return None if side is None else side.columns

    def close(self, session: str, *, bearer: str = "") -> None:
        """End it. Its bytes are free at once, or with the last of the scores under way, which are answered.

        Refusal UNKNOWN for what is no session of this bearer's; one that has ended is closed already.
        """
        with self._lock:
            try:
                self._register.end(self._register.find(session, self._digest(bearer)), Ending.CLOSED)
            except Refusal as refusal:
                if refusal.why is not Why.EXPIRED:
                    raise

    @property
    def stats(self) -> SessionStats:
        """What was counted."""
        with self._lock:
            return SessionStats(
                open=len(self._register),
                bearers=self._register.bytes.bearers,
                side_bytes=self._register.bytes.total,
                answers=len(self._answers),
                answer_bytes=self._answers.ledger.total,
                forgotten=self._answers.forgotten,
                **asdict(self._register.counts),
            )

    def sweep(self) -> None:
        """End the sessions whose time is over."""
        with self._lock:
            self._register.sweep()

    def start(self) -> Self:
        """Sweep on a daemon thread until `stop`."""
        if self._thread is not None:
            raise ConfigError("sessions are being swept already; stop that first")
        self._over.clear()
        self._thread = threading.Thread(target=self._run, name="end of sessions", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the thread, if there is one."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def drain(self, timeout_s: float) -> bool:
        """Open no more, wait until all have ended, and end those left when time is up; whether there were none."""
        until = time.monotonic() + timeout_s
        with self._lock:
            self._register.closing = True
            self._register.sweep()
            while len(self._register) and (left := until - time.monotonic()) > 0:
                self._fewer.wait(min(left, self.settings.tick_s))
                self._register.sweep()
            return self._register.end_all() == 0

    def _open(self, request: Request, ttl_s: float | None, opening: Opening) -> "Future[Opened]":
        ttl_s = self.settings.ttl_s if ttl_s is None else ttl_s
        if not ttl_s > 0:
            raise DataError(f"ttl_s is {ttl_s}; it must be above 0 seconds")
        if request.context is None:
            raise DataError("a session is opened for a context; give one")
        mark = fingerprint(request.context, request.model, request.version)
        begin = partial(self._compute, request, min(ttl_s, self.settings.longest_ttl_s), opening, mark)
        return self._opens.ask(opening, mark, request.deadline, begin)

    def _compute(self, request: Request, ttl_s: float, opening: Opening, mark: int) -> "Future[Opened]":
        def keep(side: Side) -> "Future[Opened]":
            with self._lock:
                return ready(self._register.add(side, ttl_s, opening, mark))

        with self._lock:
            self._register.sweep()
            self._register.check_room(opening[0])  # nothing is computed in vain if there is none already
        return then(self._begin(request), keep)

    def _score(self, request: Request, bearer: bytes) -> "Future[Answer]":
        with self._lock:
            session = self._register.find(request.session, bearer)
        stamp = session.opened.stamp
        if (request.model or stamp.model, request.version or stamp.version) != (stamp.model, stamp.version):
            raise DataError(
                f"the session is of version '{stamp.version}' of model '{stamp.model}', not of '{request.version}' of "
                f"'{request.model}'; leave both out, or open another"
            )
        begin = partial(self._begin_score, session, request)
        if not request.id:
            return begin()
        return self._scores.ask((request.session, request.id), _mark(request), request.deadline, begin)

    def _begin_score(self, session: Session, request: Request) -> "Future[Answer]":
        with self._lock:
            side = session.side
            if session.ending is not None or side is None:
                raise self._register.refusal(request.session, session.bearer)
            session.uses += 1
            self._register.counts.scored += 1
        answer = begun(lambda: side.score(request))
        answer.add_done_callback(lambda _: self._used(session))
        return answer

    def _used(self, session: Session) -> None:
        with self._lock:
            self._register.used(session)

    def _open_and_score(
        self, request: Request, ttl_s: float | None, opening: Opening
    ) -> "Future[tuple[Opened, Answer]]":
        def score(opened: Opened) -> "Future[tuple[Opened, Answer]]":
            inside = replace(request, session=opened.id, context=None, model="", version="")
            answer = begun(lambda: self._score(inside, opening[0]))
            if fresh:
                answer.add_done_callback(partial(self._tidy, opened.id))
            return then(answer, lambda answer: ready((opened, answer)))

        with self._lock:
            fresh = not self._register.has_opened(opening)
        return then(self._open(replace(request, candidates=_NO_CANDIDATES), ttl_s, opening), score)

    def _tidy(self, id: str, answer: "Future[Answer]") -> None:
        """End a session that nobody was told of, as its first score failed."""
        if not answer.cancelled() and answer.exception() is None:
            return
        with self._lock:
            if (session := self._register.get(id)) is not None:
                self._register.end(session, Ending.CLOSED)

    # Called with the lock held.

    def _answered(self, asked: _Asked, mark: int) -> Answer | None:
        known = self._answers.get(*asked)
        if known is None:
            return None
        check_mark(mark, known.mark)
        self._register.counts.repeated += 1
        return known.answer

    def _remember(self, asked: _Asked, answer: Answer, mark: int) -> None:
        session = self._register.get(asked[0])
        if session is not None:
            self._answers.put(session.bearer, *asked, answer, mark)

    def _ended(self, id: str) -> None:
        self._answers.drop(id)
        self._fewer.notify_all()

    def _opening(self, bearer: str, id: str) -> Opening:
        return self._digest(bearer), id or secrets.token_hex(16)

    def _digest(self, bearer: str) -> bytes:
        """What is kept of a token: nothing that it could be had back from."""
        return hashlib.blake2b(bearer.encode(), digest_size=16, key=self._secret).digest()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._register.sweep()
                next_s = self._register.next_s()
                wait_s = _NAP_S if next_s is None else next_s - self._clock()
            if self._over.wait(min(max(wait_s, self.settings.tick_s), _NAP_S)):
                return


def _mark(request: Request) -> int:
    return fingerprint(request.candidates, request.count, request.explain, request.diversity)
