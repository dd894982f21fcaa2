"""Bytes taken and given back, by bearer and altogether. Knows nothing of what they are for; whoever uses it holds a lock."""

from larix.errors import ConfigError


class Ledger:
    """``whole``: bytes that all may take together. ``each``: that one bearer may take."""

    def __init__(self, whole: int, each: int) -> None:
        self.whole, self.each = whole, each
        self.total = 0
        self._taken: dict[bytes, int] = {}

    def of(self, bearer: bytes) -> int:
        """What a bearer has taken."""
        return self._taken.get(bearer, 0)

    @property
    def bearers(self) -> int:
        """How many have taken anything."""
        return len(self._taken)

    @property
    def largest(self) -> bytes:
        """The bearer who has taken most."""
        return max(self._taken, key=self._taken.__getitem__)

    def lacks(self, bearer: bytes, size: int) -> str:
        """Which bound ``size`` more bytes would break: "whole", "each", or "" for none."""
        if self.of(bearer) + size > self.each:
            return "each"
        return "whole" if self.total + size > self.whole else ""

    def take(self, bearer: bytes, size: int) -> None:
        """Count them; whether they fit was asked before."""
        if size < 0:
            raise ConfigError(f"{size} bytes cannot be taken")
        self.total += size
        self._taken[bearer] = self.of(bearer) + size

    def give(self, bearer: bytes, size: int) -> None:
        """Count them out again."""
        left = self._taken[bearer] - size
        assert left >= 0, "more was given back than taken"
        self.total -= size
        if left:
            self._taken[bearer] = left
        else:
            del self._taken[bearer]
