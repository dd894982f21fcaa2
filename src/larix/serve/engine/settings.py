"""How an engine shares a machine among requests, and when it says no. Knows nothing of models."""

import math
from dataclasses import dataclass, field

from larix.embedding.check import threads
from larix.errors import ConfigError


def _cores() -> int:
    return threads(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """What is bounded, and by how much.

    ``workers``: pieces of work under way at once, of any stage, whoever's thread carries them out. ``sparse``, ``dense``: of
    these, at most so many of that stage; ``dense`` should be the streams that models are loaded with. On one device all three are
    its cores; with another device for the dense stage, ``workers`` is ``sparse + dense``.

    ``window_s``: how long work that is ready may wait for a request that is about to share its run; it waits only if that saves
    more than the wait, see `batching`. ``together``: requests that share a run, at most. ``waste``: how much more work, as a
    share, a large request may make by being split over idle streams.

    ``wait_s``: a request that would wait longer before its own work is refused. ``queued_rows``, ``queued_bytes``: candidates,
    and bytes of requests, that may be under way. ``ahead_rows``: looked-up candidates that may wait for the dense stage.

    ``stall_s``: a piece of work that takes longer is given up as hanging, and its thread replaced.
    """

    workers: int = field(default_factory=_cores)
    sparse: int = field(default_factory=_cores)
    dense: int = field(default_factory=_cores)
    window_s: float = 0.001
    together: int = 32
    waste: float = 0.25
    wait_s: float = 0.05
    queued_rows: int = 1 << 18
    queued_bytes: int = 1 << 28
    ahead_rows: int = 1 << 13
    stall_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("workers", "sparse", "dense", "together", "queued_rows", "queued_bytes", "ahead_rows"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"the engine's {name} is {value!r}; it must be a whole number, 1 or more")
        for name in ("window_s", "waste", "wait_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"the engine's {name} is {getattr(self, name)!r}; it must be finite, 0 or more"
                )
        if not self.stall_s > 0:
            raise ConfigError(f"the engine's stall_s is {self.stall_s!r}; it must be above 0 seconds")
