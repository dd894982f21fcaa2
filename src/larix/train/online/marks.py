"""Marks of the states that a run passes: equal for runs that came the same way, so that two can be told apart.

A mark sums up every batch taken so far and what the model made of each: of another batch, or with a weight that
differs by one bit, scores come out otherwise, and so does every mark from there on. Knows nothing of rows.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from larix.batch import Batch, Floats

_MOST = 1 << 16  # states that marks are kept of


class Marks:
    """The mark of the newest state, and of those before it back to the last that was forgotten."""

    def __init__(self, sequence: int, mark: int = 0) -> None:
        self._marks = [mark]
        self.sequence = sequence

    @property
    def newest(self) -> int:
        """The mark of the state at ``sequence``."""
        return self._marks[-1]

    def add(self, sequence: int, batch: Batch | None, scores: Floats | None) -> None:
        """A batch led to ``sequence``: the one after the newest, or the same if it was skipped and changed nothing."""
        if sequence == self.sequence:
            return
        assert sequence == self.sequence + 1, "every batch ends its sequence number"
        digest = hashlib.blake2b(self.newest.to_bytes(8, "little"), digest_size=8)
        for array in () if batch is None else _arrays(batch):
            digest.update(google_crc32c.value(np.ascontiguousarray(array).tobytes()).to_bytes(4, "little"))
        if scores is not None:
            digest.update(np.ascontiguousarray(scores).tobytes())
        self._marks.append(int.from_bytes(digest.digest(), "little"))
        self.sequence = sequence
        if len(self._marks) > _MOST:
            del self._marks[: _MOST // 8]

    def since(self, sequence: int) -> NDArray[np.uint64]:
        """The marks of the states from ``sequence`` on; fewer if it was forgotten."""
        return np.array(self._marks[-(self.sequence - sequence + 1) :], np.uint64)

    def forget(self, sequence: int) -> None:
        """No one will ask for those before ``sequence``."""
        del self._marks[: max(0, len(self._marks) - (self.sequence - sequence + 1))]


def _arrays(batch: Batch) -> Iterator[NDArray[Any]]:
    for jagged in batch.ids.values():
        yield jagged.values
    for history in batch.sequences.values():
        yield from history.ids.values()
    yield batch.dense
    if batch.labels is not None:
        yield batch.labels
