"""Scorers whose costs are known, engines of them, and an engine's schedule in a time of its own: no thread, no clock."""

import contextlib
import heapq
import itertools
import math
import random
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from larix.errors import DataError
from larix.features import Binary
from larix.serve.engine import Engine, EngineSettings, Target
from larix.serve.engine.job import Job
from larix.serve.engine.schedule import Schedule
from larix.serve.refusal import Refusal
from larix.serve.request import Answer, Request, Stamp
from larix.serve.scorer import Looked, User

STAMP = Stamp(model="feed", version="1")
FOUR = EngineSettings(workers=4, sparse=4, dense=4, wait_s=30.0)
ONE = EngineSettings(workers=1, sparse=1, dense=1, wait_s=30.0)
SOON = 20.0  # seconds in which anything must have happened, however busy the machine is


def batch(rows, **columns):
    return pa.RecordBatch.from_pydict({"item": np.arange(rows, dtype=np.int64), **columns})


CONTEXT = pa.RecordBatch.from_pydict({"user": np.array([7], np.int64)})


def request(rows, id="r", **more):
    return Request(id=id, candidates=batch(rows), context=CONTEXT, user=7, **more)


class PlainPages:
    """Answers whose values are the first task's logits."""

    def answer(self, request, looked, logits, seconds):
        value = logits[:, 0].astype(np.float64)
        return Answer(
            id=request.id,
            stamp=looked.stamp,
            order=np.argsort(-value, kind="stable")[: request.count],
            value=value,
            predictions={"click": logits[:, 0]},
            missing={**looked.user.missing, **looked.missing},
            seconds=seconds,
        )


@dataclass
class FakeScorer:
    """Logits are the items' numbers. A run takes ``base + each * bucket`` seconds, as if a graph were padded to it."""

    base: float = 0.0002
    each: float = 0.00001
    buckets: tuple = (64, 128, 256, 512)
    shared: float = 1.1  # what several requests in one run cost more, for the request's side by candidate
    stamp: Stamp = STAMP
    tasks: tuple = (Binary("click"),)
    runs: list = field(default_factory=list)

    def user(self, context):
        return User(arrays={"user": context["user"].to_numpy()}, stamp=self.stamp, size_bytes=8)

    def look_up(self, user, candidates):
        items = candidates["item"].to_numpy()
        return Looked(user=user, rows=len(items), arrays={"item": items}, stamp=self.stamp)

    def score(self, looked):
        self.runs.append([each.rows for each in looked])
        return [each.arrays["item"].astype(np.float32)[:, None] for each in looked]

    def seconds(self, rows):
        total = sum(rows)
        if total > self.buckets[-1]:
            return math.inf
        bucket = next(each for each in self.buckets if each >= total)
        return (self.base + self.each * bucket) * (self.shared if len(rows) > 1 else 1.0)


def target(scorer=None):
    return Target(scorer=scorer or FakeScorer(), pages=PlainPages())


@dataclass
class JointScorer(FakeScorer):
    """Looks several requests up in one go."""

    joint: list = field(default_factory=list)

    def requests(self, asked):
        self.joint.append([len(candidates) for _, candidates in asked])
        return [self.look_up(self.user(context), candidates) for context, candidates in asked]


class Gated(FakeScorer):
    """Scores when it is let; ``poison``: a number of rows for which it fails with ``error``."""

    def __init__(self, *, open=True, poison=None, error=None, seconds=0.0, **more):
        super().__init__(**more)
        self.gate, self.begun = threading.Event(), threading.Event()
        self.poison, self.error, self.takes = poison, error, seconds
        self.at_once = self.most = 0
        self._lock = threading.Lock()
        if open:
            self.gate.set()

    def score(self, looked):
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        try:
            self.begun.set()
            assert self.gate.wait(SOON)
            time.sleep(self.takes)
            if self.error is not None and self.poison in [each.rows for each in looked]:
                raise self.error
            return super().score(looked)
        finally:
            with self._lock:
                self.at_once -= 1


class Troubled(JointScorer):
    """Finds 23, 46, ... candidates malformed and fails at 29, 58, ...; ``deadly``: its thread dies of 31, 62, ..."""

    def __init__(self, *, deadly=False):
        super().__init__(base=0.002)
        self._deadly = deadly

    def look_up(self, user, candidates):
        if len(candidates) % 23 == 0:
            raise DataError("malformed")
        return super().look_up(user, candidates)

    def score(self, looked):
        time.sleep(0.0003)
        for each in looked:
            if each.rows % 29 == 0:
                raise ValueError
            if self._deadly and each.rows % 31 == 0:
                raise SystemExit
        return super().score(looked)


def told(error):
    """How a request ended, in a word; ``error``: None if it was answered."""
    if error is None:
        return "answered"
    return error.why.name if isinstance(error, Refusal) else type(error).__name__


def check_nothing_left(made):
    """An engine that has told everybody holds nothing of it, and goes on answering."""
    eventually(lambda: not any(made.stats().running.values()))
    stats = made.stats()
    assert (stats.queued_rows, stats.queued_bytes, made.live) == (0, 0, True)
    assert not any(stats.queued.values())
    assert made.submit(request(10)).result(SOON).value.size == 10


@contextlib.contextmanager
def engine(scorer, settings=FOUR):
    goal = target(scorer)
    with Engine(lambda _: goal, settings) as made:
        yield made
        if isinstance(scorer, Gated):
            scorer.gate.set()


def eventually(what):
    until = time.monotonic() + SOON
    while not what():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.005)


@dataclass
class Seen:
    """What became of one request."""

    rows: int
    arrived: float
    deadline: float
    ended: float = math.nan
    outcome: str = ""  # "answered", or the name of why not
    retry_after_s: float | None = None


class Simulation:
    """``workers`` that work in simulated time, as fast as ``slow`` and ``noise`` let them.

    ``sparse``, ``page``: seconds by rows. ``slow``: how many times longer everything takes than was measured when it is
    alone. ``noise``: the sigma of a log-normal factor.
    """

    def __init__(
        self,
        settings,
        *,
        sparse=lambda rows: 1e-4 + 2e-6 * rows,
        page=lambda rows: 1e-4,
        slow=1.0,
        noise=0.0,
        seed=0,
    ):
        self.schedule = Schedule(settings)
        self.settings = settings
        self.seconds = {"sparse": sparse, "page": page}
        self.slow, self.noise = slow, noise
        self.random = random.Random(seed)
        self.jobs = {}
        self.log = []  # (time, stage, rows by piece)
        self.held = 0  # times that a stream waited for a request to share its run

    def run(self, arrivals, goal=None):
        """``arrivals``: (time, rows, deadline after it); returns a Seen for each."""
        goal = goal or target()
        order = itertools.count()
        events = [(time, next(order), "arrive", (rows, patience)) for time, rows, patience in arrivals]
        heapq.heapify(events)
        found, wakes = [], set()
        while events:
            now, _, what, given = heapq.heappop(events)
            if what == "arrive":
                rows, patience = given
                seen = Seen(rows, now, now + patience)
                found.append(seen)
                job = Job(
                    target=goal,
                    request=request(rows),
                    context=CONTEXT,
                    deadline=seen.deadline,
                    arrived=now,
                    rows=rows,
                    size_bytes=8 * rows,
                )
                try:
                    self.schedule.add(job, now)
                    self.jobs[id(job)] = (job, seen)
                except Refusal as refusal:
                    seen.ended, seen.outcome, seen.retry_after_s = (
                        now,
                        refusal.why.name,
                        refusal.retry_after_s,
                    )
            elif what == "done":
                self._finish(given, now)
            self._settle(now)
            while (work := self.schedule.next(now)) is not None:
                seconds = self._takes(work) * self.slow * math.exp(self.random.gauss(0, self.noise))
                rows = [piece.looked.rows for piece in work.pieces] or [job.rows for job in work.jobs]
                self.log.append((now, work.stage, rows))
                heapq.heappush(events, (now + seconds, next(order), "done", work))
            self._settle(now)
            self._check(now)
            if self.schedule.wake < math.inf and self.schedule.wake not in wakes:
                wakes.add(self.schedule.wake)
                heapq.heappush(events, (self.schedule.wake, next(order), "wake", None))
        return found

    def _check(self, now):
        """What must hold whenever nobody takes more work."""
        schedule, settings = self.schedule, self.settings
        running = {stage: len(work) for stage, work in schedule.under_way.items()}
        assert sum(running.values()) == schedule.running <= settings.workers
        assert running["sparse"] <= settings.sparse
        assert running["dense"] <= settings.dense
        room = schedule.running < settings.workers
        assert not (room and schedule.pages)
        if room and running["dense"] < settings.dense and schedule.dense:
            self.held += 1
            assert now < schedule.dense[0].ready + settings.window_s, (
                "waits beyond the window though a stream is free"
            )
            assert running["sparse"], "waits for nobody"
        elif room and running["sparse"] < settings.sparse and schedule.sparse:
            assert schedule.dense, "a request waits though nothing is in its way"

    def _takes(self, work):
        if work.stage == "dense":
            return work.target.scorer.seconds([piece.looked.rows for piece in work.pieces])
        if work.stage == "sparse" and len(work.jobs) > 1:
            assert work.target.joint
        return self.seconds[work.stage](sum(job.rows for job in work.jobs))

    def _finish(self, work, now):
        scorer = work.target.scorer
        if work.stage == "sparse" and work.target.joint:
            work.result = scorer.requests([(CONTEXT, job.request.candidates) for job in work.jobs])
        elif work.stage == "sparse":
            [job] = work.jobs
            work.result = [scorer.look_up(scorer.user(CONTEXT), job.request.candidates)]
        elif work.stage == "dense":
            work.result = scorer.score([piece.looked for piece in work.pieces])
        else:
            [job] = work.jobs
            logits = np.concatenate(job.parts)
            assert logits[:, 0].tolist() == list(range(job.rows)), "pieces came back in another order"
            work.result = ["page"]
        self.schedule.done(work, now)

    def _settle(self, now):
        for job in self.schedule.ended:
            _, seen = self.jobs.pop(id(job))
            assert not seen.outcome, "answered twice"
            seen.ended = now
            seen.outcome = "answered" if job.error is None else job.error.why.name
        self.schedule.ended.clear()


def poisson(rate, seconds, rows, patience=math.inf, seed=0):
    """Arrivals at so many a second. ``rows``: a function of a random generator."""
    draw = random.Random(seed)
    now, found = 0.0, []
    while (now := now + draw.expovariate(rate)) < seconds:
        found.append((now, rows(draw), patience))
    return found


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
