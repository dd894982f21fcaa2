"""What is to be done next, and what waits: the engine without its threads and without a clock.

One thread at a time calls; every call says what time it is and returns at once. Knows nothing of how work is carried out.
"""

import math
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

from larix.serve.engine import batching
from larix.serve.engine.admission import Admission
from larix.serve.engine.job import Job, Piece, Stage, Work
from larix.serve.engine.settings import EngineSettings
from larix.serve.refusal import Refusal, Why
from larix.serve.scorer import Looked

_SEEN = 64  # pieces at the head of the queue that may share a run


class Schedule:
    """Queues before each stage, what is under way, and the rules of who comes next.

    What is nearest to its end goes first: pages, then runs, then what has not begun. Where there is one worker, it goes through
    all that follows on a job at once: that is what would be next. ``ended``: jobs that were answered or given
    up since it was last taken; whoever asked is to be told. ``wake``: when to ask again though nothing happens, inf for never.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.admission = Admission(settings)
        self.sparse: deque[Job] = deque()
        self.dense: deque[Piece] = deque()
        self.pages: deque[Job] = deque()
        self.under_way: dict[Stage, set[Work]] = {"sparse": set(), "dense": set(), "page": set()}
        self.ended: list[Job] = []
        self.wake = math.inf
        self.running = 0  # pieces of work
        self.late = self.cancelled = self.split = 0
        self._ahead = 0  # rows in ``dense``

    @property
    def waiting(self) -> bool:
        """Whether a request that came now would have to wait."""
        return bool(self.sparse or self.dense or self.pages) or self.running >= self.settings.workers

    def add(self, job: Job, now: float) -> None:
        """Let ``job`` in, or raise Refusal."""
        least = job.target.runs.alone(job.rows)
        page = job.target.costs.page(job.rows) if job.rows else 0.0
        job.expected = {"sparse": job.sparse_cost(job.rows), "dense": least, "page": page}
        waiting = self.waiting
        self.admission.look(now, waiting)
        if now + least > job.deadline:
            least = self._quickest(job)
        self.admission.admit(job, now, waiting=waiting, least=least)
        self.sparse.append(job)

    def next(self, now: float, mine: Job | None = None) -> Work | None:
        """What to do now, which then is under way until `done`; None if there is nothing, or no room for more.

        ``mine``: only what this job is part of.
        """
        room = self.settings.workers - self.running
        work, self.wake = None, math.inf
        if room > 0:
            if self.pages:
                work = self._page(now, mine)
            if work is None and self.dense:
                work = self._run(now, mine)
            if work is None and self.sparse:
                work = self._sparse(now, mine)
            if work is not None:
                work.inline = mine is not None
        self.admission.look(now, self.waiting)
        return work

    def done(self, work: Work, now: float) -> None:
        """``work`` is done, or has failed; what comes after it in its job waits from now on. To be followed by `next`."""
        stage = work.stage
        self.under_way[stage].remove(work)
        self.running -= 1
        if stage == "dense":
            self._scored(work, now)
        elif work.through and (work.pieces or work.error is not None):
            self._gone_through(work, now)
        else:
            if work.through:
                self.admission.begin(work.jobs[0], -_behind(work.jobs[0]))
            results = work.result if work.error is None else [work.error] * len(work.jobs)
            took = (now - work.began) / len(work.jobs)
            for job, result in zip(work.jobs, results, strict=True):
                self.admission.did(job.expected[stage])
                if isinstance(result, BaseException):
                    self.end(job, result)
                    continue
                if stage == "page":
                    self._paged(job, result, took)
                    continue
                job.sparse_cost.add(job.rows, took)
                if job.request is not None:
                    self._looked(job, result, now)
                else:
                    job.answer = result
                    self.end(job)

    def _gone_through(self, work: Work, now: float) -> None:
        """The only job of ``work`` came beyond its look-up: it has its page, or has failed, or there was no time for one."""
        (job,) = work.jobs
        self.admission.did(job.expected["sparse"] + _behind(job))
        if work.pieces:
            job.sparse_cost.add(job.rows, job.ready - work.began)
        error = work.error or (None if work.answers else work.result[0])
        if isinstance(error, BaseException):
            self.end(job, error)
        elif work.answers:
            self._paged(job, work.answers[0], now - job.scored)
        else:
            over = self._gone(job, now)
            assert over, "what was hopeless before is so now"

    def _paged(self, job: Job, answer: Any, seconds: float) -> None:
        job.target.costs.page.add(job.rows, seconds)
        job.answer = answer
        self.end(job)

    def end(self, job: Job, error: BaseException | None = None) -> None:
        """``job`` is over; whatever of it still waits is passed by."""
        assert not job.over
        job.over, job.error = True, error
        self.admission.leave(job)
        self.ended.append(job)

    def sweep(self, now: float) -> None:
        """End all that waits and is late or cancelled, so that nobody who waits behind hanging work waits for ever."""
        for job in self._queued():
            self._gone(job, now)

    def refuse_all(self, why: Why, text: str) -> None:
        """End all that is not under way."""
        for job in self._queued():
            if not job.over:
                self.end(job, Refusal(why, text))

    def _queued(self) -> Iterator[Job]:
        yield from [*self.sparse, *(piece.job for piece in self.dense), *self.pages]

    def _gone(self, job: Job, now: float, least: float = 0.0) -> bool:
        """Whether ``job`` is over; ends it if it is cancelled or cannot be in time. ``least``: seconds it takes from now on."""
        if job.over:
            return True
        if not job.hopeless(now, least):
            return False
        if job.future is not None and job.future.cancelled():
            self.cancelled += 1
            self.end(job)
        else:
            self.late += 1
            stood = "not begun" if math.isnan(job.began) else "begun, but not done"
            since = f"{(now - job.arrived) * 1e3:.0f} ms after it came it was {stood}"
            self.end(job, Refusal(Why.TOO_LATE, f"there was no time for it: {since}"))
        return True

    def _page(self, now: float, mine: Job | None) -> Work | None:
        while self.pages:
            if mine is not None:
                if mine not in self.pages:
                    return None
                self.pages.remove(mine)
            job = mine or self.pages.popleft()
            if not self._gone(job, now):
                self.admission.begin(job, job.expected["page"])
                return self._begun(Work("page", [job], [], now))
        return None

    def _sparse(self, now: float, mine: Job | None) -> Work | None:
        while self.sparse:
            job = self.sparse[0]
            least = job.expected["dense"]
            if now + least > job.deadline:
                least = self._quickest(job)
            if not self._gone(job, now, least):
                full = len(self.under_way["sparse"]) >= self.settings.sparse
                if full or (self.dense and self._ahead >= self.settings.ahead_rows):
                    return None
                if mine is not None and job is not mine:
                    return None
                jobs = [job]
                if mine is None and len(self.sparse) > 1 and job.target.joint and _whole(job):
                    jobs = self._joining(job, now)
                if len(jobs) == 1:
                    self.sparse.popleft()
                else:
                    taken = set(map(id, jobs))
                    self.sparse = deque(job for job in self.sparse if id(job) not in taken)
                work = Work("sparse", jobs, [], now, through=len(jobs) == 1 and self._alone(job))
                for job in jobs:
                    seconds = job.expected["sparse"] + (_behind(job) if work.through else 0.0)
                    self.admission.begin(job, seconds)
                    job.began = now
                return self._begun(work)
            self.sparse.popleft()
        return None

    def _alone(self, job: Job) -> bool:
        """Whether what follows on its sparse stage is for this thread, and there is nothing more urgent till then."""
        if self.settings.workers > 1 or job.request is None or self.dense or self.pages:
            return False
        return job.rows <= job.target.runs.largest

    def _joining(self, head: Job, now: float) -> list[Job]:
        """Who is looked up together with ``head``: this thread's share of those that wait, no more rows than a run takes."""
        settings, runs = self.settings, head.target.runs
        free = min(settings.sparse - len(self.under_way["sparse"]), settings.workers - self.running)
        most = min(-(-len(self.sparse) // free), settings.together)
        found, rows = [head], head.rows
        for job in islice(self.sparse, 1, _SEEN):
            if len(found) >= most:
                break
            alike = job.target.scorer is head.target.scorer and _whole(job)
            if alike and rows + job.rows <= runs.largest and not self._gone(job, now):
                found.append(job)
                rows += job.rows
        return found

    def _looked(self, job: Job, looked: Looked, now: float) -> None:
        """Cut what was looked up into pieces for the dense stage."""
        job.looked, job.ready = looked, now
        idle = 1 if self.dense else self._free()
        runs = job.target.runs
        sizes = batching.split(looked.rows, idle, runs.largest, runs, self.settings.waste)
        job.parts, job.waiting = [None] * len(sizes), len(sizes)
        self._ahead += looked.rows
        if len(sizes) == 1:
            self.dense.append(Piece(job, looked, 0, now, job.expected["dense"]))
            return
        self.split += 1
        start = 0
        for at, size in enumerate(sizes):
            cost = job.expected["dense"] * size / looked.rows
            self.dense.append(Piece(job, _cut(looked, start, start + size), at, now, cost))
            start += size

    def _quickest(self, job: Job) -> float:
        """Seconds of its dense stage if all streams were idle."""
        if not job.rows:
            return 0.0
        runs, streams = job.target.runs, self.settings.dense
        sizes = batching.split(job.rows, streams, runs.largest, runs, self.settings.waste)
        return -(-len(sizes) // streams) * runs(sizes[:1])

    def _free(self) -> int:
        """Streams on which a run could begin now."""
        streams = self.settings.dense - len(self.under_way["dense"])
        return min(streams, self.settings.workers - self.running)

    def _run(self, now: float, mine: Job | None) -> Work | None:
        free = self._free()
        while self.dense and free > 0:
            head = self.dense[0]
            if self._gone(head.job, now, head.job.target.runs((head.looked.rows,))):
                self._ahead -= self.dense.popleft().looked.rows
                continue
            if mine is not None and head.job is not mine:
                return None
            pieces = self._sharing(head, now)
            chosen = [head]
            if len(self.dense) > 1 or self.under_way["sparse"]:
                indices = self._chosen(pieces, free, now)
                if not indices:
                    return None
                chosen = [pieces[index] for index in indices]
            self._take(chosen)
            for piece in chosen:
                self.admission.begin(piece.job, piece.cost)
                if piece.job.dense == 0.0:
                    piece.job.dense = now
            through = self.settings.workers == 1 and len(chosen) == len(head.job.parts) == 1
            return self._begun(Work("dense", [], chosen, now, through=through))
        return None

    def _sharing(self, head: Piece, now: float) -> list[Piece]:
        """The pieces that may go with ``head``: of the same state of the same model, and not over."""
        scorer, found = head.job.target.scorer, [head]
        for piece in islice(self.dense, 1, _SEEN):
            if piece.job.target.scorer is scorer and not self._gone(piece.job, now):
                found.append(piece)
        return found

    def _chosen(self, pieces: list[Piece], free: int, now: float) -> list[int]:
        """Which of them make the next run; none if it is worth waiting for one that is about to come."""
        runs, settings = pieces[0].job.target.runs, self.settings
        largest, rows = runs.largest, [piece.looked.rows for piece in pieces]
        spare = [piece.job.deadline - now for piece in pieces]
        indices = batching.share(rows, free, largest, settings.together, runs, spare)
        latest = pieces[0].ready + settings.window_s
        if free == 1 and now < latest and len(indices) == len(pieces) == len(self.dense):
            coming = [
                (work.began + sum(job.expected["sparse"] for job in work.jobs) - now, job.rows)
                for work in self.under_way["sparse"]
                if work.target.scorer is runs.scorer
                for job in work.jobs
                if job.rows
            ]
            saved = batching.worth(rows, coming, largest, settings.together, runs)
            until = min(latest, now + saved, min(spare) + now - runs(rows))
            if until > now:
                self.wake = until
                return []
        return indices

    def _take(self, chosen: list[Piece]) -> None:
        if len(chosen) == 1:
            self.dense.popleft()
        else:
            taken = set(map(id, chosen))
            self.dense = deque(piece for piece in self.dense if id(piece) not in taken)
        self._ahead -= sum(piece.looked.rows for piece in chosen)

    def _scored(self, work: Work, now: float) -> None:
        results = work.result if work.error is None else [work.error] * len(work.pieces)
        for piece, result in zip(work.pieces, results, strict=True):
            job = piece.job
            self.admission.did(piece.cost)
            if job.over:
                continue
            if isinstance(result, BaseException):
                self.end(job, result)
                continue
            job.parts[piece.at] = result
            job.waiting -= 1
            if job.waiting:
                continue
            if work.answers:
                self.admission.begin(job, job.expected["page"])
                self.admission.did(job.expected["page"])
                self._paged(job, work.answers[0], now - job.scored)
            else:
                job.scored = now
                self.pages.append(job)

    def _begun(self, work: Work) -> Work:
        self.under_way[work.stage].add(work)
        self.running += 1
        return work


def _behind(job: Job) -> float:
    """Expected seconds of what follows on its sparse stage."""
    return job.expected["dense"] + job.expected["page"]


def _whole(job: Job) -> bool:
    """Whether both sides of its request are to be looked up."""
    return job.request is not None and job.target.user is None


def _cut(looked: Looked, start: int, end: int) -> Looked:
    arrays = {name: array[start:end] for name, array in looked.arrays.items()}
    return Looked(user=looked.user, rows=end - start, arrays=arrays, stamp=looked.stamp)
