"""Which ids get a row when training meets them: admission policies. Knows nothing of how ids are counted."""

from dataclasses import dataclass

from larix.errors import ConfigError

MOST = 15  # what four bits hold
BLOCK = 128  # counters of a cache line


@dataclass(frozen=True, kw_only=True, slots=True)
class ByCount:
    """An id gets a row at its ``n``-th occurrence in training, as an aged count-min sketch estimates it.

    Counted are occurrences of ids that have no row, all those of a call before any of them is decided on. ``counters``
    of four bits each, rounded up to a power of two, make up the sketch, half a byte each in the memory budget. All
    counters are halved at the end of a call in or after which more than ``window`` occurrences have been counted since
    the last halving (0: an eighth of ``counters``). An estimate is never below the count within the window; it is too
    high, and an id admitted early, for at most some per cent of ids (Cormode and Muthukrishnan, 2005; halving as in
    TinyLFU: Einziger et al., 2017).
    """

    n: int = 2
    counters: int = 1 << 22
    window: int = 0

    def __post_init__(self) -> None:
        for name in ("n", "counters", "window"):
            if not isinstance(getattr(self, name), int):
                raise ConfigError(f"ByCount.{name} is {getattr(self, name)!r:.50}; it must be a whole number")
        if not 1 <= self.n <= MOST:
            raise ConfigError(f"ByCount.n is {self.n}; it must be from 1 to {MOST}, which four bits hold")
        if self.window < 0:
            raise ConfigError(f"ByCount.window is {self.window}; it must not be negative")
        if not BLOCK <= self.counters <= 1 << 40:
            raise ConfigError(f"ByCount.counters is {self.counters}; it must be from {BLOCK} to 2^40")

    @property
    def blocks(self) -> int:
        """Cache lines of the sketch: a power of two."""
        return 1 << (-(-self.counters // BLOCK) - 1).bit_length()

    @property
    def bytes(self) -> int:
        """Memory of the sketch."""
        return self.blocks * 64

    @property
    def ageing(self) -> int:
        """Occurrences after which counters are halved."""
        return self.window or self.blocks * BLOCK // 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ByChance:
    """Each call of training gives an id that it meets without a row one with chance ``p``.

    The draw is a pure function of (seed, table, id, number of the call): about ``1 / p`` calls until an id has its row,
    without memory.
    """

    p: float

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise ConfigError(f"ByChance.p is {self.p}; it must be above 0 and at most 1")

    @property
    def bound(self) -> int:
        """A draw of 53 bits below this admits."""
        return int(self.p * 2.0**53)


Admission = ByCount | ByChance
