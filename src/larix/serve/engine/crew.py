"""The threads that carry out what the schedule says, and the lock around it. Knows nothing of what requests hold.

Whoever asks and waits may carry out the own request meanwhile, within the same bounds: where nothing waits, no other thread
has a part in it. Nor has one where the only worker's work is asked for on a thread that is lent.
"""

import math
import threading
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

from larix.embedding.polling import Polling
from larix.serve.engine.counts import Counts
from larix.serve.engine.job import Job, Work
from larix.serve.engine.lent import Soon, here
from larix.serve.engine.schedule import Schedule
from larix.serve.engine.settings import EngineSettings
from larix.serve.engine.stages import carry_out, logger
from larix.serve.refusal import Refusal, Why

_LOOK = 0.25  # seconds between looks for what hangs or waits in vain


class Crew:
    """As many threads as there are ``workers``; one that dies or hangs is replaced.

    ``hanging``: threads whose work was given up and has not come back. ``draining``: nobody is let in any more.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.schedule = Schedule(settings)
        self.counts = Counts()
        self.lock = threading.Lock()
        self.hanging = 0
        self.draining = False
        self._settings = settings
        self._more = threading.Condition(self.lock)  # there is something to do
        self._nothing = threading.Condition(self.lock)  # nobody is under way
        self._idle = 0
        self._lent_at: float | None = None  # since when a lent thread is to come, or is at work
        self._closed = False
        self._threads: list[threading.Thread] = []
        with self.lock:
            for _ in range(settings.workers):
                self._start()
        self._watching = Polling(self._watch, "work that hangs")
        self._watching.start(
            _LOOK, on_error=lambda error: logger.error("looking after threads failed", exc_info=error)
        )

    def send(self, job: Job) -> None:
        """Let ``job``, which has a future, in, for the threads to carry out, or this one if it is lent; or raise Refusal."""
        soon = here() if self._settings.workers == 1 else None
        with self.lock:
            self._add(job)
            if soon is None or self._lent_at is not None:
                self._rouse()
                return
            self._lent_at = time.monotonic()
        soon(partial(self._lent_turn, soon))

    def carry(self, job: Job) -> Any:
        """Let ``job`` in and return its answer, carried out by this thread where it need not wait; or raise what went wrong."""
        with self.lock:
            self._add(job)
            work = self._next(job)
            ended = self._ended()
        self._settle(ended)
        while work is not None:
            work = self._carry(work, job)
        if job.future is not None:
            return job.future.result()
        if job.error is None:
            return job.answer
        error, job.error = job.error, None
        try:
            raise error
        finally:
            del error  # it remembers this frame, and those that have the job

    def drain(self, timeout_s: float) -> bool:
        """Let nobody in, wait for those under way, refuse those that are not even begun then; whether there were none."""
        with self.lock:
            self.draining = True
            empty = self._nothing.wait_for(lambda: not self.schedule.admission.jobs, timeout_s)
            self.schedule.refuse_all(
                Why.UNAVAILABLE, "the server has shut down before this was begun; ask another"
            )
            ended = self._ended()
        self._settle(ended)
        return empty

    def close(self, timeout_s: float = 5.0) -> None:
        """End the threads; those that hang are left behind."""
        with self.lock:
            self.draining = self._closed = True
            self._more.notify_all()
            threads = list(self._threads)
        self._watching.stop()
        until = time.monotonic() + timeout_s
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def _add(self, job: Job) -> None:
        if self.draining:
            raise Refusal(Why.UNAVAILABLE, "the server is shutting down; ask another", retry_after_s=1.0)
        self.schedule.add(job, time.monotonic())
        self.counts.admitted += 1

    def _next(self, mine: Job | None) -> Work | None:
        """What this thread does next. If it has no more to do for ``mine``, others have."""
        work = self.schedule.next(time.monotonic(), mine)
        if work is None and mine is not None and not mine.over:
            mine.future = Future()
        # A thread of the crew that finds nothing wakes nobody: two of them would never sleep again.
        if work is not None or mine is not None:
            self._rouse()
        return work

    def _lent_turn(self, soon: Soon) -> None:
        """Carry out one piece of work on this thread, which is lent, and come again if there is more."""
        with self.lock:
            work, ended = self._next(None), self._ended()
            self._lent_at = None if work is None else time.monotonic()
        self._settle(ended)
        if work is None:
            return
        work.inline = True
        try:
            self._carry(work, None, onward=False)
        finally:
            with self.lock:
                more = self._waits
                self._lent_at = time.monotonic() if more else None
            if more:
                soon(partial(self._lent_turn, soon))

    @property
    def _waits(self) -> bool:
        schedule = self.schedule
        return bool(schedule.sparse or schedule.dense or schedule.pages)

    @property
    def _left(self) -> bool:
        """Whether what waits is left to a lent thread, which is at work or about to come; not for ever: it may be kept."""
        return self._lent_at is not None and time.monotonic() - self._lent_at < _LOOK

    def _rouse(self) -> None:
        room = self.schedule.running < self._settings.workers
        if self._idle and room and self._waits and not self._left:
            self._more.notify()

    def _carry(self, work: Work, mine: Job | None, *, onward: bool = True) -> Work | None:
        """Carry out ``work``; return what this thread does next. ``mine``: the job that this thread is there for alone.

        ``onward``: whether this thread is to do more at once.
        """
        fatal: BaseException | None = None
        try:
            carry_out(work)
        except BaseException as error:
            fatal = error
            work.error = Refusal(
                Why.BROKEN, f"the thread of the {work.now} stage died of {type(error).__name__}; ask again"
            )
            logger.critical("a thread died in the %s stage; it is replaced", work.now, exc_info=error)
        after = None
        with self.lock:
            if work.given_up:  # those it was for have been told
                self.hanging -= 1
            else:
                self._done(work)
                if fatal is None and onward and (mine is not None or not self._left):
                    after = self._next(mine)
                else:
                    self._rouse()
            ended = self._ended()
        self._settle(ended)
        if fatal is not None:
            raise fatal
        return after

    def _done(self, work: Work) -> None:
        if work.pieces and work.error is None:
            self.counts.ran(work)
        self.schedule.done(work, time.monotonic())

    def _ended(self) -> list[Job]:
        """Take those that have ended, to be told without the lock."""
        if not self.schedule.ended:
            return []
        ended, self.schedule.ended = self.schedule.ended, []
        for job in ended:
            if job.error is not None:
                self.counts.ended_badly(job, job.error)
            elif job.request is not None and job.answer is not None:
                self.counts.answered(job, job.answer)
        if self.draining and not self.schedule.admission.jobs:
            self._nothing.notify_all()
        return ended

    @staticmethod
    def _settle(ended: list[Job]) -> None:
        for job in ended:
            if job.future is None or not job.future.set_running_or_notify_cancel():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.answer)

    def _start(self) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        replaced = False
        try:
            work = self._await()
            while work is not None:
                before, work = work, self._carry(work, None)
                if before.given_up:
                    replaced = True
                    return
                del before  # a version that is dropped shall not live in a thread that waits
                work = work or self._await()
        except BaseException:
            logger.debug("a thread ends", exc_info=True)
        finally:
            with self.lock:
                if not (replaced or self._closed):
                    self.counts.replaced += 1
                    self._start()

    def _await(self) -> Work | None:
        """Wait for something to do; None if there will be no more."""
        while True:
            with self.lock:
                work, ended = None if self._left else self._next(None), self._ended()
                if work is None and not ended:
                    if self._closed:
                        return None
                    wake = self.schedule.wake
                    self._idle += 1
                    try:
                        self._more.wait(None if wake == math.inf else max(0.0, wake - time.monotonic()))
                    finally:
                        self._idle -= 1
            self._settle(ended)
            if work is not None:
                return work

    def _watch(self) -> None:
        """Give up what hangs, end what waits in vain."""
        now = time.monotonic()
        with self.lock:
            self.schedule.sweep(now)
            for work in [each for stage in self.schedule.under_way.values() for each in stage]:
                if now - work.began > self._settings.stall_s:
                    self._give_up(work)
            self._rouse()
            ended = self._ended()
        self._settle(ended)

    def _give_up(self, work: Work) -> None:
        work.given_up = True
        given = self._settings.stall_s
        error = Refusal(Why.BROKEN, f"the {work.now} stage hangs for more than {given:g} s; ask again")
        logger.critical("the %s stage hangs for more than %g s", work.now, given)
        self.hanging += 1
        work.error = error
        self.schedule.done(work, time.monotonic())
        if not work.inline and self.hanging <= self._settings.workers:
            self.counts.replaced += 1
            self._start()
