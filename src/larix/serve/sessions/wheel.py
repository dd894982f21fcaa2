"""A hierarchical timer wheel: which of many keys are due by now, at a constant cost a key. Knows no clock and no thread.

After G. Varghese and T. Lauck, Hashed and Hierarchical Timing Wheels, SOSP 1987.
"""

import math
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from larix.errors import ConfigError

Key = TypeVar("Key", bound=Hashable)

_BITS = 6  # of a level: 64 slots
_LOW = (1 << _BITS) - 1
_FURTHEST = 1 << 60  # ticks; what is due later is due then


class _Timer(NamedTuple):
    at: int
    level: int
    slot: int


class _Level(Generic[Key]):
    """A ring of slots; bit ``s`` of ``taken`` says whether slot ``s`` holds any key."""

    def __init__(self) -> None:
        self.slots: list[dict[Key, None]] = [{} for _ in range(1 << _BITS)]
        self.taken = 0


class Wheel(Generic[Key]):
    """Keys with a time each, in seconds of any clock that does not go back.

    Time is counted in ticks of ``tick_s`` from ``now_s`` on. A key is never due early, and late by less than a tick. A slot
    of a level spans all slots of the level below; a key lies in the lowest level that tells its tick from the present one,
    and moves down as time comes near. Ticks at which nothing happens cost nothing, however many.
    """

    def __init__(self, *, tick_s: float, now_s: float) -> None:
        if not tick_s > 0:
            raise ConfigError(f"a tick lasts {tick_s} seconds; it must be above 0")
        self._tick_s = tick_s
        self._origin_s = now_s
        self._now = 0
        self._levels: list[_Level[Key]] = []
        self._timers: dict[Key, _Timer] = {}
        self._due: dict[Key, None] = {}  # their time had come when they were put here

    def __len__(self) -> int:
        return len(self._timers)

    def __contains__(self, key: Key) -> bool:
        return key in self._timers

    def put(self, key: Key, at_s: float) -> None:
        """Make ``key`` due at ``at_s``, and no longer when it was to be."""
        if math.isnan(at_s):
            raise ConfigError(f"key {key!r} cannot be due at {at_s}")
        self.cancel(key)
        ticks = (at_s - self._origin_s) / self._tick_s
        self._place(key, _FURTHEST if ticks >= _FURTHEST else max(math.ceil(ticks), self._now))

    def cancel(self, key: Key) -> bool:
        """Forget ``key``; return whether it was there."""
        timer = self._timers.pop(key, None)
        if timer is None:
            return False
        if timer.level < 0:
            del self._due[key]
            return True
        level = self._levels[timer.level]
        slot = level.slots[timer.slot]
        del slot[key]
        if not slot:
            level.taken &= ~(1 << timer.slot)
        return True

    def advance(self, now_s: float) -> list[Key]:
        """The keys that are due at ``now_s``, earlier ticks first; they are gone from here. Time does not go back."""
        to = min((now_s - self._origin_s) / self._tick_s, _FURTHEST)
        found: list[Key] = []
        self._take_due(found)
        while (level := self._lowest()) is not None:
            tick = self._next_of(level)
            if tick > to:
                break
            self._now = tick
            self._turn(level, tick)
            self._take_due(found)
        self._now = max(self._now, math.floor(to))
        return found

    def next_s(self) -> float | None:
        """A time at which `advance` has something to do, and before which nothing is due; None if no key is here."""
        level = self._lowest()
        if not self._due and level is None:
            return None
        tick = self._now if self._due or level is None else self._next_of(level)
        at_s = self._origin_s + tick * self._tick_s
        while (
            at_s - self._origin_s
        ) / self._tick_s < tick:  # rounded down: whoever waits until then would wait again
            at_s = math.nextafter(at_s, math.inf)
        return at_s

    def _place(self, key: Key, at: int) -> None:
        if at <= self._now:
            self._due[key] = None
            self._timers[key] = _Timer(at, -1, 0)
            return
        number = ((at ^ self._now).bit_length() - 1) // _BITS
        while number >= len(self._levels):
            self._levels.append(_Level())
        slot = (at >> (number * _BITS)) & _LOW
        level = self._levels[number]
        level.slots[slot][key] = None
        level.taken |= 1 << slot
        self._timers[key] = _Timer(at, number, slot)

    def _lowest(self) -> int | None:
        """The level whose first key is the nearest: those of higher levels lie beyond all of its slots."""
        return next((number for number, level in enumerate(self._levels) if level.taken), None)

    def _next_of(self, number: int) -> int:
        """The tick at which the first taken slot of a level begins. All taken ones are ahead of the present one."""
        taken = self._levels[number].taken
        slot = (taken & -taken).bit_length() - 1
        above = (number + 1) * _BITS
        return (self._now >> above << above) | (slot << (number * _BITS))

    def _turn(self, number: int, tick: int) -> None:
        """Deal the keys of the slot that begins now to the levels below."""
        slot = (tick >> (number * _BITS)) & _LOW
        level = self._levels[number]
        keys, level.slots[slot] = level.slots[slot], {}
        level.taken &= ~(1 << slot)
        for key in keys:
            self._place(key, self._timers[key].at)

    def _take_due(self, found: list[Key]) -> None:
        for key in self._due:
            del self._timers[key]
            found.append(key)
        self._due = {}
