"""Which entries have a key: a hash table in numpy, asked for many keys at once. Knows nothing of what entries are.

Open addressing by steps of 1, 2, 3, ...: each is done for all keys that still look. Entries are numbered as they are added;
those of one key are a chain, the newest first. Nothing is removed: whoever wants that has several tables and drops one.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from larix.data.join.mapped import held, mapped

Ints = NDArray[np.int64]
Places = NDArray[np.int32]
_NONE = -1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SMALLEST = 10  # bits of the number of slots


class Index:
    """Entries 0, 1, 2, ... by their int64 keys; any key may be used, and more than once. At most 2**31 entries."""

    def __init__(self) -> None:
        self.count = 0
        self._distinct = 0
        self._next = np.empty(0, np.int32)  # the entry of the same key added before, by entry
        self._keys: Ints
        self._heads: Places
        self._reset(_SMALLEST)

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""
        return held(self._keys, self._heads, self._next)

    def spill(self, folder: Path) -> None:
        """Move it to the disk, until it grows."""
        self._keys, self._heads, self._next = (
            mapped(each, folder) for each in (self._keys, self._heads, self._next)
        )

    def add(self, keys: Ints) -> None:
        """Give the next ``len(keys)`` entries these keys."""
        first, self.count = self.count, self.count + len(keys)
        if self.count > len(self._next):
            grown = np.empty(max(self.count, 2 * len(self._next)), np.int32)
            grown[:first] = self._next[:first]
            self._next = grown
        self._next[first : self.count] = _NONE
        entries = np.arange(first, self.count, dtype=np.int32)
        tails = self._chained(keys, entries)
        if tails is not None:
            keys, entries, oldest = keys[tails[0]], entries[tails[0]], entries[tails[1]]
        else:
            oldest = entries
        bits = self._bits
        while 2 * (self._distinct + len(keys)) > 1 << bits:
            bits += 1
        if bits != self._bits:
            self._rebuild(bits)
        self._insert(keys, entries, oldest)

    def find(self, keys: Ints) -> Places:
        """The newest entry of each key, or -1."""
        mask = np.int64((1 << self._bits) - 1)
        slots, step = self._slots(keys), 0
        found: Places = self._heads.take(slots)
        left = (self._keys.take(slots) != keys).nonzero()[0]
        full = found.take(left) >= 0
        found[left] = _NONE
        # Where a slot is another's, the next one is looked at; where it is empty, the key is not there.
        left = left.compress(full)
        keys, slots = keys.take(left), slots.take(left)
        while len(left):
            step += 1
            slots = (slots + step) & mask
            heads, other = self._heads.take(slots), self._keys.take(slots) != keys
            here = (~other).nonzero()[0]
            found[left.take(here)] = heads.take(here)
            go_on = (other & (heads >= 0)).nonzero()[0]
            left, keys, slots = left.take(go_on), keys.take(go_on), slots.take(go_on)
        return found

    def pairs(self, keys: Ints) -> Iterator[tuple[Ints, Places]]:
        """The positions of keys that have an entry, and the entries: the newest ones, then those before them, ..."""
        entries = self.find(keys)
        places = np.flatnonzero(entries >= 0)
        entries = entries[places]
        while len(places):
            yield places, entries
            entries = self._next[entries]
            more = np.flatnonzero(entries >= 0)
            places, entries = places[more], entries[more]

    def _reset(self, bits: int) -> None:
        self._bits = bits
        self._keys = np.zeros(1 << bits, np.int64)
        self._heads = np.full(1 << bits, _NONE, np.int32)

    def _slots(self, keys: Ints) -> Ints:
        return ((keys.view(np.uint64) * _GOLDEN) >> np.uint64(64 - self._bits)).view(np.int64)

    def _chained(self, keys: Ints, entries: Places) -> tuple[Ints, Ints] | None:
        """Link entries of one key among the new ones; the places of each key's newest and oldest, or None: no key twice."""
        ordered = np.sort(keys)
        if not (ordered[1:] == ordered[:-1]).any():
            return None
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        same = ordered[1:] == ordered[:-1]
        self._next[entries[order[1:][same]]] = entries[order[:-1][same]]
        return order[np.append(~same, True)], order[np.insert(~same, 0, True)]

    def _rebuild(self, bits: int) -> None:
        used = self._heads >= 0
        keys, heads = self._keys[used], self._heads[used]
        self._reset(bits)
        self._distinct = 0
        self._insert(keys, heads, None)

    def _insert(self, keys: Ints, heads: Places, oldest: Places | None) -> None:
        """Put chains with distinct keys in; what is there of a key already becomes the end of its chain."""
        mask = np.int64((1 << self._bits) - 1)
        slots, step = self._slots(keys), 0
        while len(keys):
            step += 1
            there = self._heads.take(slots)
            # Of several that want one empty slot the last to write has it; the others see who and go on.
            empty = (there < 0).nonzero()[0]
            wanted, ours = slots.take(empty), heads.take(empty)
            self._heads[wanted] = ours
            won = empty.compress(self._heads.take(wanted) == ours)
            self._keys[slots.take(won)] = keys.take(won)
            self._distinct += len(won)
            left = np.ones(len(keys), bool)
            left[won] = False
            if oldest is not None:
                full = (there >= 0).nonzero()[0]
                same = full.compress(self._keys.take(slots.take(full)) == keys.take(full))
                self._next[oldest.take(same)] = there.take(same)
                self._heads[slots.take(same)] = heads.take(same)
                left[same] = False
            # Keys are distinct: a slot that is another's, or just became it, is not this one's.
            rest = left.nonzero()[0]
            oldest = None if oldest is None else oldest.take(rest)
            slots, keys, heads = (slots.take(rest) + step) & mask, keys.take(rest), heads.take(rest)
