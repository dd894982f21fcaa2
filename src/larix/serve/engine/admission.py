"""Who is let in: those that can be answered in time, given all that is under way. Knows nothing of queues or threads.

Work is counted in seconds, as measured for each request alone; ``speed`` is how many of those seconds are done in one while
there is enough to do, so that gains of sharing runs, and losses to other processes and to Python, are in it as they are.
"""

import math

from larix.serve.engine.job import Job
from larix.serve.engine.settings import EngineSettings
from larix.serve.refusal import Refusal, Why

_SPAN = 0.05  # seconds of having enough to do between two looks at the speed
_NEWEST = 0.3  # of the speed, with each look
_FILLED = 0.9  # of the time that is left may be planned away: what is expected is not certain
_SOON = 0.1  # seconds; whoever is refused should not come back sooner


class Admission:
    """What is under way, in requests, rows, bytes and seconds of work. One thread at a time."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self.jobs = self.rows = self.size_bytes = 0
        self.todo = self.doing = 0.0  # seconds of work: not begun, begun
        self.speed = float(settings.workers)
        self._done = self._span = 0.0
        self._busy, self._last = False, math.nan

    def wait(self, waiting: bool) -> float:
        """Seconds until a request that came now would be begun. ``waiting``: whether any is."""
        if not waiting:
            return 0.0
        return (self.todo + self.doing / 2) / self.speed

    def full(self, waiting: bool, rows: int = 1, size_bytes: int = 1) -> Refusal | None:
        """Why a request of so much would be refused however long it had; None if it might be let in.

        By default any request that asks for anything, so that it need not be read.
        """
        settings, wait = self._settings, self.wait(waiting)
        crowded = (
            self.rows + rows > settings.queued_rows or self.size_bytes + size_bytes > settings.queued_bytes
        )
        return _overloaded(wait) if crowded or wait > settings.wait_s else None

    def admit(self, job: Job, now: float, *, waiting: bool, least: float) -> None:
        """Count ``job`` in, or raise Refusal. ``least``: seconds of its dense stage, on an idle machine."""
        settings = self._settings
        for what, asked, most in (
            ("candidates", job.rows, settings.queued_rows),
            ("bytes", job.size_bytes, settings.queued_bytes),
        ):
            if asked > most:
                raise Refusal(
                    Why.TOO_LARGE, f"the request holds {asked:,} {what}; at most {most:,} are taken"
                )
        own, left = sum(job.expected.values()), job.deadline - now
        if left <= 0:
            raise Refusal(Why.TOO_LATE, f"the request came {-left * 1e3:.0f} ms after its deadline")
        if least > left:
            raise Refusal(
                Why.TOO_LATE,
                f"{job.rows} candidates take {least * 1e3:.1f} ms to score, but only {left * 1e3:.1f} ms are left; "
                "give it more time or fewer candidates",
            )
        if (refusal := self.full(waiting, job.rows, job.size_bytes)) is not None:
            try:
                raise refusal
            finally:
                del refusal  # which remembers this frame, and the job in it
        wait = self.wait(waiting)
        # On a machine that is full, its own work goes as slowly as that of others.
        whole = wait + own * (max(1.0, settings.workers / self.speed) if waiting else 1.0)
        if waiting and whole > _FILLED * left:
            raise _overloaded(wait)
        self.jobs += 1
        self.rows += job.rows
        self.size_bytes += job.size_bytes
        job.todo = own
        self.todo += own

    def begin(self, job: Job, seconds: float) -> None:
        """So much expected work on ``job`` has been begun."""
        job.todo -= seconds
        self.todo -= seconds
        self.doing += seconds

    def did(self, seconds: float) -> None:
        """So much expected work, which had been begun, is done."""
        self.doing -= seconds
        if self._busy:
            self._done += seconds

    def leave(self, job: Job) -> None:
        """``job`` has been answered or refused; what had not been begun will not be."""
        self.jobs -= 1
        self.rows -= job.rows
        self.size_bytes -= job.size_bytes
        self.todo = self.todo - job.todo if self.jobs else 0.0
        job.todo = 0.0

    def look(self, now: float, busy: bool) -> None:
        """Take the time. ``busy``: from now on there is more to do than is being done."""
        if self._busy:
            self._span += now - self._last
            if self._span >= _SPAN:
                seen = min(max(self._done / self._span, 0.05), 64.0 * self._settings.workers)
                self.speed += _NEWEST * (seen - self.speed)
                self._done = self._span = 0.0
        self._busy, self._last = busy, now


def _overloaded(wait: float) -> Refusal:
    text = f"the server is full: a request would wait for {wait * 1e3:.0f} ms; come again later"
    return Refusal(Why.OVERLOADED, text, retry_after_s=max(_SOON, wait))
