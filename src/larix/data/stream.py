"""Rows as batches: shuffled within windows, read ahead, with a position to resume from exactly.

Windows are fixed runs of rows, so that the order needs no state but (epoch, row). Knows nothing of files.
"""

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, Self

import numpy as np
import pyarrow as pa

from larix.data.ahead import Ahead
from larix.errors import ConfigError, DataError


class Rows(Protocol):
    """What a stream needs of a source: the same rows in the same order each time they are asked for."""

    @property
    def fingerprint(self) -> str:
        """Changes when the rows or their order do."""

    def projection(self, columns: Sequence[str] | None) -> pa.Schema:
        """The schema of ``columns``, of all for None."""

    def batches(self, columns: Sequence[str] | None, *, skip: int) -> Iterator[pa.RecordBatch]:
        """The rows in batches of any size, without the first ``skip``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """After which row of which epoch a stream stands, and of which order of rows that is said.

    ``row`` counts the rows handed out in ``epoch``; ``order`` tells the files, days, shuffle and seed.
    """

    epoch: int
    row: int
    order: str

    def to_json(self) -> str:
        """The position as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The position that `to_json` wrote.

        Raises:
            DataError: the text is not a position.
        """
        try:
            found = cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise DataError(f"{text[:80]!r} is not a position in a stream: {error}") from error
        if not (type(found.epoch) is int and type(found.row) is int and isinstance(found.order, str)):
            raise DataError(f"{text[:80]!r} is not a position in a stream: epoch and row are whole numbers")
        return found


class Stream:
    """Record batches of a source, once. Made by `Files.stream`; close it, or use ``with``, to stop early."""

    def __init__(
        self,
        source: Rows,
        *,
        columns: Sequence[str] | None,
        batch_size: int,
        shuffle: int,
        seed: int,
        epoch: int,
        epochs: int,
        prefetch: int,
        position: Position | None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        for name, value in (("shuffle", shuffle), ("seed", seed), ("epoch", epoch), ("prefetch", prefetch)):
            if value < 0:
                raise ConfigError(f"{name} must not be negative, got {value}")
        if epochs < 1:
            raise ConfigError(f"epochs must be at least 1, got {epochs}")
        order = f"{source.fingerprint}-{shuffle}-{seed if shuffle else 0}"
        start = position or Position(epoch=epoch, row=0, order=order)
        if start.order != order:
            raise ConfigError(
                "the position is of another order of rows: the files, the days, shuffle or seed differ; "
                "give them as they were, or start without a position"
            )
        if not epoch <= start.epoch < epoch + epochs:
            raise ConfigError(
                f"the position is in epoch {start.epoch} but the stream has {epoch} to {epoch + epochs - 1}; "
                "give the epochs that it was taken in"
            )
        self.schema: pa.Schema = source.projection(columns)
        self._position = start
        chosen = None if columns is None else tuple(columns)
        windows = _windows(source, chosen, shuffle or batch_size, start, epoch + epochs)
        if prefetch:
            # One thread decodes the next window while another permutes this one: its start is no stall.
            batches = _batches(Ahead(windows, 1 if shuffle else prefetch), batch_size, shuffle, seed, start)
            self._batches: Ahead[_Placed] | Generator[_Placed, None, None] = Ahead(batches, prefetch)
        else:
            self._batches = _batches(windows, batch_size, shuffle, seed, start)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self

    def __next__(self) -> pa.RecordBatch:
        batch, self._position = next(self._batches)
        return batch

    @property
    def position(self) -> Position:
        """After the last batch handed out; what is read ahead does not count."""
        return self._position

    def close(self) -> None:
        """End the threads; the position stays."""
        self._batches.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_Placed = tuple[pa.RecordBatch, Position]
_Window = tuple[int, int, pa.RecordBatch]  # epoch, number of its first row, rows


def _windows(
    source: Rows, columns: Sequence[str] | None, size: int, start: Position, stop: int
) -> Generator[_Window, None, None]:
    """Runs of ``size`` rows of every epoch, the first of them the one that ``start`` lies in."""
    for epoch in range(start.epoch, stop):
        first = start.row // size * size if epoch == start.epoch else 0
        held: list[pa.RecordBatch] = []
        rows = 0
        for batch in source.batches(columns, skip=first):
            while rows + len(batch) >= size:
                cut = size - rows
                yield epoch, first, _joined([*held, batch.slice(0, cut)])
                first, rows, held, batch = first + size, 0, [], batch.slice(cut)
            if len(batch):
                held.append(batch)
                rows += len(batch)
        if held:
            yield epoch, first, _joined(held)


def _batches(
    windows: "Ahead[_Window] | Generator[_Window, None, None]",
    size: int,
    shuffle: int,
    seed: int,
    start: Position,
) -> Generator[_Placed, None, None]:
    """Cut the windows, permuted, into batches of ``size`` rows that begin after ``start``."""
    at, rows = start, 0
    held: list[pa.RecordBatch] = []
    try:
        for epoch, first, window in windows:
            if epoch != at.epoch:
                if held:
                    yield _joined(held), at
                at, held, rows = Position(epoch=epoch, row=0, order=start.order), [], 0
            taken = at.row - first
            order = None
            if shuffle:
                order = np.random.default_rng([seed, epoch, first // shuffle]).permutation(len(window))
            while taken < len(window):
                count = min(size - rows, len(window) - taken)
                if order is None:
                    held.append(window.slice(taken, count))
                else:
                    held.append(window.take(pa.array(order[taken : taken + count])))
                taken, rows = taken + count, rows + count
                at = Position(epoch=epoch, row=first + taken, order=start.order)
                if rows == size:
                    yield _joined(held), at
                    held, rows = [], 0
            del window
        if held:
            yield _joined(held), at
    finally:
        windows.close()


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    (joined,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return joined
