"""Models, engine, sessions and feedback as the one Service that protocols see. Knows nothing of protocols or of files."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Self

from larix.features import Task
from larix.serve.engine import Engine, EngineSettings
from larix.serve.models import Repository
from larix.serve.refusal import Refusal, Why
from larix.serve.request import Answer, Request
from larix.serve.service import Columns, Feedback, ModelStatus
from larix.serve.sessions import Sessions, SessionSettings, pinned
from larix.serve.stats import ServiceStats, VersionStats
from larix.serve.telemetry import Traces

FOR_SESSIONS = 0.5  # the share of the time to drain that sessions may go on in


class Serving:
    """A Service of ``repository``'s models. Any number of threads may call; `close` it, or leave it, to end its threads.

    ``poll_s``: how often the repository looks for new bundles. ``feedback``: who takes actions. ``traces``: what follows
    requests. ``gauges``: what else is to be told among its numbers.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        engine: EngineSettings | None = None,
        sessions: SessionSettings | None = None,
        feedback: Feedback | None = None,
        poll_s: float = 2.0,
        traces: Traces | None = None,
        gauges: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self.repository, self.feedback = repository, feedback
        self._traces, self._gauges = traces, gauges
        self._draining = False
        self._engine = Engine(repository.route, engine)
        self.sessions = Sessions(
            pinned(
                self._engine,
                repository.route,
                repository.signature,
                partial(self._follow, "score"),
                repository.shadowed,
            ),
            sessions,
        ).start()
        repository.start(poll_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def live(self) -> bool:
        """See ``Service.live``."""
        return self._engine.live

    @property
    def ready(self) -> bool:
        """See ``Service.ready``."""
        return not self._draining and self._engine.ready and self.repository.ready

    def rank(self, request: Request) -> "Future[Answer]":
        """See ``Service.rank``."""
        if self._draining:
            refused: Future[Answer] = Future()
            refused.set_exception(Refusal(Why.UNAVAILABLE, "the server is about to stop; ask another one"))
            return refused
        future = self._engine.submit(request)
        self._follow("rank", request, future)
        return future

    def check_room(self) -> None:
        """See ``Service.check_room``."""
        self._engine.check_room()

    @property
    def names(self) -> Sequence[str]:
        """See ``Service.names``."""
        return self.repository.names

    def models(self) -> Sequence[ModelStatus]:
        """See ``Service.models``."""
        return self.repository.models()

    def signature(self, model: str, version: str = "") -> Columns:
        """See ``Service.signature``."""
        return self.repository.signature(model, version)

    def tasks(self, model: str, version: str = "") -> tuple[Task, ...]:
        """See ``Service.tasks``."""
        return self.repository.tasks(model, version)

    def load(self, model: str) -> None:
        """See ``Service.load``."""
        self.repository.load(model)

    def unload(self, model: str) -> None:
        """See ``Service.unload``."""
        self.repository.unload(model)

    def stats(self, model: str | None = None) -> ServiceStats:
        """See ``Service.stats``."""
        counted = {(each.model, each.version): each for each in self._engine.versions()}
        for status in self.repository.models():
            for version, gauges in self.repository.model(status.name).gauges.items():
                known = counted.get((status.name, version), VersionStats(model=status.name, version=version))
                counted[status.name, version] = replace(known, gauges={**known.gauges, **gauges})
        return ServiceStats(
            versions=tuple(each for each in counted.values() if model in (None, each.model)),
            engine=self._engine.stats(),
            gauges={**self.sessions.stats.gauges, **self._gauges()},
        )

    def drain(self, timeout_s: float) -> bool:
        """See ``Service.drain``. Sessions may go on for half of the time; then what is under way is answered."""
        until = time.monotonic() + timeout_s
        self._draining = True
        self.sessions.drain(timeout_s * FOR_SESSIONS)
        return self._engine.drain(max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Refuse what is not answered, let go of all models and end all threads."""
        self._draining = True
        self.sessions.stop()
        self._engine.close()
        self.repository.close()

    def _follow(self, what: str, request: Request, answer: "Future[Answer]") -> None:
        if self._traces is not None:
            self._traces.follow(what, request, answer)
        answer.add_done_callback(partial(self._answered, request))

    def _answered(self, request: Request, future: "Future[Answer]") -> None:
        if not future.cancelled() and future.exception() is None:
            self.repository.answered(request, future.result())
