"""The engine's face: a request in, an answer out, in time or not at all. Knows nothing of protocols or of models' files."""

import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self

import numpy as np
import pyarrow as pa

from larix.errors import DataError, LarixError
from larix.serve.engine.crew import Crew
from larix.serve.engine.job import Job, Target
from larix.serve.engine.settings import EngineSettings
from larix.serve.request import Answer, Request
from larix.serve.scorer import Looked, User
from larix.serve.stats import EngineStats, VersionStats

Route = Callable[[Request], Target]


class Engine:
    """Answers requests, as many at once as the machine can take. Any number of threads may call.

    What comes back, or is raised: an Answer; DataError for a request that is malformed; Refusal, see ``Why``: OVERLOADED and
    TOO_LATE before anything is computed, TOO_LATE between stages, BROKEN for faults of the model, UNAVAILABLE while draining.
    """

    def __init__(self, route: Route, settings: EngineSettings | None = None) -> None:
        """``route``: which version of which model answers a request, at once and on the caller's thread; may raise Refusal.

        Starts its threads; `close` ends them.
        """
        self.settings = settings or EngineSettings()
        self._route = route
        self._crew = Crew(self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def live(self) -> bool:
        """Whether there are threads left that do not hang."""
        return self._crew.hanging < self.settings.workers

    @property
    def ready(self) -> bool:
        """Whether requests are let in."""
        return self.live and not self._crew.draining

    def rank(self, request: Request, target: Target | None = None) -> Answer:
        """Answer a request and wait for it, on this thread where nothing is to be gained by another.

        ``target``: what answers it, where that is not ``route``'s to say.
        """
        job = None
        try:
            job = self._job(request, target)
            if job.rows:
                answer: Answer = self._crew.carry(job)
                return answer
            return self._empty(job)
        except LarixError as error:
            self._turned_away(error, job)
            raise

    def submit(self, request: Request, target: Target | None = None) -> "Future[Answer]":
        """As `rank`, without waiting: it never blocks. Cancelling the future drops what is not yet begun."""
        future: Future[Answer] = Future()
        job = None
        try:
            job = self._job(request, target)
            job.future = future
            if job.rows:
                self._crew.send(job)
            else:
                future.set_result(self._empty(job))
        except LarixError as error:
            self._turned_away(error, job)
            future.set_exception(error.with_traceback(None))  # it would hold the job, and the job it
        return future

    def open(self, target: Target, context: pa.RecordBatch, *, deadline: float = math.inf) -> "Future[User]":
        """Compute a request's side alone, for a session to keep. ``deadline``: of ``time.monotonic()``."""
        future: Future[User] = Future()
        job = Job(
            target=target,
            request=None,
            context=context,
            deadline=deadline,
            arrived=time.monotonic(),
            size_bytes=context.get_total_buffer_size(),
            future=future,
        )
        try:
            self._crew.send(job)
        except LarixError as error:
            self._turned_away(error, job)
            future.set_exception(error.with_traceback(None))  # it would hold the job, and the job it
        return future

    def check_room(self) -> None:
        """Raise Refusal (OVERLOADED), and count it, if a request that came now would be refused whatever it held.

        Takes no lock unless it refuses: every request asks, before it is read.
        """
        schedule = self._crew.schedule
        if (refusal := schedule.admission.full(schedule.waiting)) is not None:
            self._turned_away(refusal, None)
            try:
                raise refusal
            finally:
                del refusal  # which remembers this frame

    def drain(self, timeout_s: float) -> bool:
        """Let no more requests in and answer those under way; whether all were answered in time.

        What is not begun after ``timeout_s`` seconds is refused.
        """
        return self._crew.drain(timeout_s)

    def close(self) -> None:
        """Refuse what waits and end the threads."""
        self._crew.drain(0.0)
        self._crew.close()

    def stats(self) -> EngineStats:
        """What was counted since the start, and how it stands now."""
        crew = self._crew
        with crew.lock:
            schedule, counts = crew.schedule, crew.counts
            admission = schedule.admission
            return EngineStats(
                queued={
                    "sparse": len(schedule.sparse),
                    "dense": len(schedule.dense),
                    "page": len(schedule.pages),
                },
                running={stage: len(work) for stage, work in schedule.under_way.items()},
                queued_rows=admission.rows,
                queued_bytes=admission.size_bytes,
                wait_s=admission.wait(schedule.waiting),
                speed=admission.speed,
                admitted=counts.admitted,
                shed=dict(counts.shed),
                late=schedule.late,
                cancelled=schedule.cancelled,
                inline=counts.inline,
                split=schedule.split,
                replaced=counts.replaced,
                hanging=crew.hanging,
                run_rows=counts.run_rows.shown(),
                run_requests=counts.run_requests.shown(),
            )

    def versions(self) -> tuple[VersionStats, ...]:
        """What was counted of each version of each model."""
        with self._crew.lock:
            return self._crew.counts.versions()

    def _job(self, request: Request, target: Target | None) -> Job:
        target = target or self._route(request)
        if request.context is None and target.user is None:
            raise DataError("the request has no context; give one, or open a session and name it")
        candidates = request.candidates
        # Of whole buffers: what is held as long as this is; and nbytes takes 50 times longer.
        size: int = candidates.get_total_buffer_size()
        if request.context is not None:
            size += request.context.get_total_buffer_size()
        return Job(
            target=target,
            request=request,
            context=request.context,
            deadline=request.deadline,
            arrived=time.monotonic(),
            rows=candidates.num_rows,
            size_bytes=size,
        )

    def _turned_away(self, error: LarixError, job: Job | None) -> None:
        if job is None or not job.over:
            with self._crew.lock:
                self._crew.counts.turned_away(error, job)

    @staticmethod
    def _empty(job: Job) -> Answer:
        """Nothing to rank takes no queue and no network."""
        assert job.request is not None
        scorer = job.target.scorer
        stamp = scorer.stamp
        looked = Looked(user=User(arrays={}, stamp=stamp), rows=0, arrays={}, stamp=stamp)
        return job.target.pages.answer(
            job.request, looked, np.zeros((0, len(scorer.tasks)), np.float32), {"whole": 0.0}
        )
