"""A consumer: events as they come, in the columns asked for; what cannot be had so becomes a dead letter.

Knows nothing of where events come from: a source gives them, on disk or in Kafka.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, Protocol, Self

import pyarrow as pa

from larix.data.log import letters
from larix.data.log.columns import Column, project
from larix.data.log.events import Events, Unreadable
from larix.data.log.offsets import Offsets


class Source(Protocol):
    """What a consumer asks of a log."""

    @property
    def lost(self) -> int:
        """Events passed over since damage or retention took them."""

    def poll(self, timeout_s: float, max_rows: int) -> Sequence[Events | Unreadable]:
        """What comes within the time, at once if there is something; after ``max_rows`` no further append."""

    def next(self) -> dict[int, int]:
        """The next offset of each partition that it reads."""

    def ends(self) -> dict[int, int]:
        """The offset after the last event of each partition that it reads."""

    def lags(self) -> dict[int, int]:
        """How much of each partition that it reads is there and was not handed out: exact where it is 0."""

    def behind(self) -> list[int]:
        """The partitions that it reads of which there is more."""

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Go on from other offsets."""

    def assure(self) -> Offsets:
        """Where it stands, once no power cut can take back what is before."""

    def commit(self, offsets: Offsets) -> None:
        """Keep them under the group's name."""

    def close(self) -> None:
        """Let go."""


class Consumer:
    """Reads one topic. Made by `EventLog.consumer`; for one thread; close it, or use ``with``.

    ``dead`` counts by reason the events that went to the dead-letter topic. They are there before `poll` returns, so a
    position never lies behind an event that is neither handed out nor kept; after a crash they may be there twice.
    """

    def __init__(
        self,
        source: Source,
        columns: Sequence[Column] | None,
        bury: Callable[[pa.RecordBatch], None],
    ) -> None:
        self._source = source
        self._columns = None if columns is None else tuple(columns)
        self._bury = bury
        self.dead: Counter[str] = Counter()

    def poll(self, timeout_s: float = 0.0, *, max_rows: int = 1 << 16) -> list[Events]:
        """What is there, or what comes within ``timeout_s``; nothing then if none did. Returns as soon as it has some.

        Each append is handed out whole; none is added once there are ``max_rows`` rows. So memory is bounded however
        far behind the consumer is.

        Raises:
            StorageError: the next events are damaged or gone. Those before them were handed out by earlier calls, and
                the position stays where it is.
        """
        until = monotonic() + timeout_s
        while True:
            before = self._source.next()
            got = self._source.poll(max(0.0, until - monotonic()), max_rows)
            try:
                found = self._projected(got)
            except BaseException:
                self._source.seek(before)
                raise
            if found or monotonic() >= until:
                return found

    def drain(self, *, max_rows: int = 1 << 16) -> Iterator[Events]:
        """What is there, at least up to the end that the topic has at the time of the call: a replay.

        In Kafka with a group, of the partitions that it has at that time; none before the first `poll`.
        """
        ends = self._source.ends()
        while any(offset < ends.get(partition, 0) for partition, offset in self._source.next().items()):
            yield from self.poll(0.1, max_rows=max_rows)

    @property
    def position(self) -> Offsets:
        """After the events handed out by the last `poll`. What is before it is durable: it may go into a checkpoint.

        Asking waits for the disk, if the last events are only just written.
        """
        return self._source.assure()

    def seek(self, position: Offsets) -> None:
        """Go on from there.

        Raises:
            ConfigError: the position is of another log or topic, or of partitions that are not read here.
        """
        here = self._source.assure()
        position.fits(here.log, here.topic)
        self._source.seek(position.next)

    def commit(self, position: Offsets | None = None) -> None:
        """Keep a position, by default this one, under the group's name; durable on return.

        Raises:
            ConfigError: the consumer has no group.
        """
        self._source.commit(position or self._source.assure())

    @property
    def lag(self) -> int:
        """Events (messages, in Kafka) that are there and not yet handed out.

        0 is true now. More than that, of brokers, may be a second old: they are not asked each time by who is behind.
        """
        return sum(self.lags.values())

    @property
    def lags(self) -> dict[int, int]:
        """The lag of each partition that it reads."""
        return self._source.lags()

    @property
    def behind(self) -> list[int]:
        """The partitions that have a lag: silent as they may be, they are not idle. Brokers may have said so 0.25 s ago."""
        return self._source.behind()

    @property
    def lost(self) -> int:
        """Events passed over since damage or retention took them; 0 unless ``skip_lost``."""
        return self._source.lost

    def close(self) -> None:
        """Let go of the log's files or of the group."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _projected(self, got: Sequence[Events | Unreadable]) -> list[Events]:
        found: list[Events] = []
        dead: list[dict[str, Any]] = []
        for each in got:
            if isinstance(each, Unreadable):
                dead.append(letters.unreadable(each))
            elif self._columns is None:
                found.append(each)
            else:
                rows, rejected = project(each.rows, self._columns)
                dead += [letter for some in rejected for letter in letters.rejected(each, some)]
                if len(rows):
                    found.append(replace(each, rows=rows))
        if dead:
            self._bury(pa.RecordBatch.from_pylist(dead, schema=letters.SCHEMA))
            for letter in dead:
                self.dead[letter["reason"]] += max(1, len(letter["rows"]))
        return found
