"""What the engine counts, while it counts it. One thread at a time; ``larix.serve.stats`` has what is shown."""

import time
from bisect import bisect_left
from collections import Counter

from larix.serve.engine.job import Job, Work
from larix.serve.refusal import Refusal
from larix.serve.request import Answer, Stamp
from larix.serve.stats import STAGES, Histogram, VersionStats

_STEPS = (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
SECONDS = tuple(scale * step for scale in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0) for step in _STEPS)
ROWS = tuple(float(1 << power) for power in range(16))
REQUESTS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0)
_VERSIONS = 64  # that numbers are kept of; then the first to come is forgotten


class Tally:
    """A histogram in the making."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def shown(self) -> Histogram:
        """As it is now."""
        return Histogram(self._bounds, tuple(self._counts), self._total)


class _Version:
    def __init__(self) -> None:
        self.answered = self.candidates = self.runs = self.last_ms = 0
        self.refused: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()
        self.seconds = {stage: Tally(SECONDS) for stage in STAGES}


class Counts:
    """Of all versions, and of runs."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, str], _Version] = {}
        self.run_rows, self.run_requests = Tally(ROWS), Tally(REQUESTS)
        self.shed: Counter[str] = Counter()
        self.admitted = self.inline = self.replaced = 0

    def ran(self, work: Work) -> None:
        """A run of the dense stage was carried out."""
        self._of(work.pieces[0].looked.stamp).runs += 1
        self.run_rows.add(sum(piece.looked.rows for piece in work.pieces))
        self.run_requests.add(len(work.pieces))

    def turned_away(self, error: BaseException, job: Job | None) -> None:
        """A request was refused at the door; ``job``: None if not even its model was found."""
        self.shed[_reason(error)] += 1
        if job is not None:
            self.ended_badly(job, error)

    def ended_badly(self, job: Job, error: BaseException) -> None:
        """A job ended with ``error``."""
        self._of(job.target.scorer.stamp).refused[_reason(error)] += 1

    def answered(self, job: Job, answer: Answer) -> None:
        """A request was answered."""
        version = self._of(answer.stamp)
        version.answered += 1
        version.candidates += job.rows
        version.last_ms = int(time.time() * 1000)
        self.inline += job.future is None
        for stage, seconds in answer.seconds.items():
            version.seconds[stage].add(seconds)
        for name, count in answer.missing.items():
            version.missing[name] += count

    def versions(self) -> tuple[VersionStats, ...]:
        """As they are now."""
        return tuple(
            VersionStats(
                model=model,
                version=version,
                answered=each.answered,
                candidates=each.candidates,
                runs=each.runs,
                last_ms=each.last_ms,
                refused=dict(each.refused),
                seconds={stage: tally.shown() for stage, tally in each.seconds.items()},
                missing=dict(each.missing),
            )
            for (model, version), each in self._versions.items()
        )

    def _of(self, stamp: Stamp) -> _Version:
        key = stamp.model, stamp.version
        found = self._versions.get(key)
        if found is None:
            if len(self._versions) >= _VERSIONS:
                self._versions.pop(next(iter(self._versions)))
            found = self._versions[key] = _Version()
        return found


def _reason(error: BaseException) -> str:
    return error.why.name if isinstance(error, Refusal) else "DATA"
