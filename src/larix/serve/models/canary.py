"""Which users another version answers: a share of them, always the same ones. Knows users as numbers and versions by name."""

import hashlib
from dataclasses import dataclass, field

from larix.errors import ConfigError

_BITS = 64
_MASK = (1 << _BITS) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Canary:
    """``share`` of ``model``'s users, from 0 to 1, are answered by ``version``.

    Who they are is a function of (model, ``salt``, user) alone: the same in every process, at any time and for any version.
    As the share grows those who are in stay in. Another salt draws others; other models draw on their own.
    """

    model: str
    version: str
    share: float
    salt: str = ""
    _key: int = field(init=False, repr=False)
    _below: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"Canary.share is {self.share}; it is a share of users, from 0 to 1")
        drawn = hashlib.blake2b(f"{len(self.model)}:{self.model}{self.salt}".encode(), digest_size=8).digest()
        object.__setattr__(self, "_key", int.from_bytes(drawn, "little"))
        object.__setattr__(self, "_below", round(self.share * (1 << _BITS)))

    def takes(self, user: int) -> bool:
        """Whether the version answers ``user``, a 64-bit number."""
        return _mixed((user ^ self._key) & _MASK) < self._below


def _mixed(x: int) -> int:
    """A bijection of 64 bits in which every bit depends on all (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)
