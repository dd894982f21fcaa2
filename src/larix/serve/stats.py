"""What is counted while serving, as plain numbers. Knows nothing of who counts or of who shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

STAGES = ("queue", "sparse", "wait", "dense", "page", "whole")


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts[i]``: values above ``bounds[i - 1]`` and up to ``bounds[i]``; the last: above all. ``total``: their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """The bound that ``share`` of the values do not pass; the largest bound if they do, 0 if there are none."""
        wanted, seen = share * self.count, 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            if seen >= wanted:
                return bound if seen else 0.0
        return self.bounds[-1] if self.bounds else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionStats:
    """Of one version of one model, since the start.

    ``answered``: requests. ``candidates``: of those. ``runs``: of the dense stage. ``refused``: by the name of Why, and "DATA"
    for malformed ones. ``seconds``: of requests answered, by stage: ``queue`` (until work on it began), ``sparse``, ``wait``
    (between the stages), ``dense``, ``page``, ``whole``. ``missing``: by slot or column, values not given or without a row.
    ``last_ms``: when the latest was answered, milliseconds since the epoch. ``gauges``: what else it tells of itself, by name.
    """

    model: str
    version: str
    answered: int = 0
    candidates: int = 0
    runs: int = 0
    last_ms: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, Histogram] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    gauges: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStats:
    """Of the engine, all models together.

    ``queued``: what waits now for each stage. ``running``: what is under way now, by stage.
    ``queued_rows``, ``queued_bytes``: candidates and bytes of all requests under way. ``wait_s``: what a request would wait now.
    ``speed``: seconds of work, as one request alone takes them, that are done in a second when there is enough to do.
    ``shed``: refused at the door, by the name of Why. ``late``: dropped before a stage. ``cancelled``: by whoever asked.
    ``inline``: requests that no queue and no other thread had a part in. ``run_rows``, ``run_requests``: of dense runs.
    ``replaced``: threads that died and were replaced; ``hanging``: that hang now. ``split``: requests that went in several runs.
    """

    queued: Mapping[str, int] = field(default_factory=dict)
    running: Mapping[str, int] = field(default_factory=dict)
    queued_rows: int = 0
    queued_bytes: int = 0
    wait_s: float = 0.0
    speed: float = 0.0
    admitted: int = 0
    shed: Mapping[str, int] = field(default_factory=dict)
    late: int = 0
    cancelled: int = 0
    inline: int = 0
    split: int = 0
    replaced: int = 0
    hanging: int = 0
    run_rows: Histogram = Histogram((), (0,), 0.0)
    run_requests: Histogram = Histogram((), (0,), 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceStats:
    """All that a server counts. ``gauges``: what sessions, feedback and whoever else is asked tell, by name."""

    versions: tuple[VersionStats, ...] = ()
    engine: EngineStats = field(default_factory=EngineStats)
    gauges: Mapping[str, float] = field(default_factory=dict)
