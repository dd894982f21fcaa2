"""The oracle's account of time: sequence numbers, the clock, and which ids went away when. Knows nothing of rows."""

import uuid

from larix.embedding import check
from larix.embedding.snapshot import Instant


class Track:
    """One store's sequence, steps and clock; ``gone``: when ids were removed last, by table, once tracking began.

    ``open``: whether anything happened in the current sequence number.
    """

    def __init__(self) -> None:
        self.history = uuid.uuid4().hex
        self.origin: Instant | None = None
        self.sequence = 1
        self.open = False
        self.steps = 0
        self.clock = 0
        self.ticking = True
        self.kept: int | None = None
        self.gone: dict[str, dict[int, int]] = {}

    def set_clock(self, now: int) -> None:
        """From now on the clock is what it is set to; it no longer counts gathers."""
        self.clock, self.ticking, self.open = check.clock(now), False, True

    def tick(self) -> None:
        """Count a training gather, unless the clock is set from outside."""
        self.clock, self.open = (self.clock + self.ticking) % 2**32, True

    def step(self) -> None:
        """Count an apply or update."""
        self.steps, self.open = self.steps + 1, True

    def end(self) -> Instant:
        """End the current sequence number if anything happened in it; return the instant of the last end."""
        self.sequence += self.open
        self.open = False
        return Instant(history=self.history, sequence=self.sequence - 1, steps=self.steps, clock=self.clock)

    def cut(self) -> int:
        """End the current sequence number; the first time begins tracking."""
        ended = self.end().sequence
        if self.kept is None:
            self.kept = ended
        return ended

    def forget(self, upto: int) -> None:
        """Let go what only changes since before ``upto`` need."""
        check.ended(upto, self.sequence)
        if self.kept is not None and upto > self.kept:
            self.kept = upto
            for table, gone in self.gone.items():
                self.gone[table] = {i: when for i, when in gone.items() if when > upto}

    def remove(self, table: str, ids: list[int]) -> None:
        """Note ids that went away."""
        self.open |= bool(ids)
        if self.kept is not None:
            self.gone.setdefault(table, {}).update(dict.fromkeys(ids, self.sequence))

    def resume(self, instant: Instant, tracked: bool) -> None:
        """Stand at the end of ``instant.sequence`` from now on."""
        check.resumed(instant.sequence >= self.sequence - (not self.open), instant.sequence)
        self.origin, self.steps, self.clock = instant, instant.steps, instant.clock
        self.sequence, self.open, self.gone = instant.sequence + 1, False, {}
        self.kept = instant.sequence if tracked else None
