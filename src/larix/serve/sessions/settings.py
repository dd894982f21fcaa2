"""What sessions may take, and for how long. Knows nothing of what is in one."""

import math
from dataclasses import dataclass

from larix.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionSettings:
    """Every bound of `Sessions`.

    ``side_bytes``: of all sessions' request sides; beyond them nobody opens another. ``answer_bytes``: of answers that are
    remembered for retries; beyond them the oldest are forgotten. ``bearer_share``: of both, at most for one bearer.

    ``ttl_s``: a session ends so long after its last use, unless whoever opens it asks for another time, at most
    ``longest_ttl_s``. ``life_s``: it ends so long after it was opened, however it is used: until then its version stays in
    memory. ``tick_s``: how late the end of an unused session may be noticed; a request notices at once.

    ``ended``: of so many sessions that have ended it is remembered how, so that their ids are told from those that never were.
    ``prefix``: what their ids begin with, which tells nobody more than who keeps them.
    """

    side_bytes: int = 1 << 30
    answer_bytes: int = 1 << 27
    bearer_share: float = 0.5
    ttl_s: float = 60.0
    longest_ttl_s: float = 600.0
    life_s: float = 3600.0
    tick_s: float = 0.1
    ended: int = 1 << 16
    prefix: str = ""

    def __post_init__(self) -> None:
        for name in ("side_bytes", "answer_bytes", "ended"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigError(f"the sessions' {name} is {value!r}; it must be a whole number, 0 or more")
        if not 0 < self.bearer_share <= 1:
            raise ConfigError(f"the sessions' bearer_share is {self.bearer_share!r}; it must be in (0, 1]")
        for name in ("ttl_s", "longest_ttl_s", "life_s", "tick_s"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ConfigError(f"the sessions' {name} is {value!r} seconds; it must be above 0 and finite")
        if self.ttl_s > self.longest_ttl_s:
            raise ConfigError(
                f"the sessions' ttl_s is {self.ttl_s!r}, above longest_ttl_s={self.longest_ttl_s!r}"
            )
