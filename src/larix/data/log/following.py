"""Partitions on disk as a consumer's source: looked at by turns, slept on between looks. Knows nothing of columns."""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic, sleep

from larix.data.log.events import Events
from larix.data.log.offsets import Offsets
from larix.data.log.place import Place
from larix.data.log.reader import Reader
from larix.errors import ConfigError

# A look at a head is a load from shared memory; between two looks a consumer sleeps, longer the longer nothing comes.
_SHORTEST_S = 0.0002
_LONGEST_S = 0.001


class Following:
    """Follows the partitions ``places`` of one topic from the offsets ``start`` on.

    Raises:
        ConfigError: an offset lies beyond the partition's end.
        StorageError: a partition's head cannot be read.
    """

    def __init__(
        self, places: Sequence[Place], start: Offsets, *, keep: Callable[[Offsets], None], skip_lost: bool
    ) -> None:
        self._keep = keep
        self._log, self._topic = start.log, start.topic
        self._readers: dict[int, Reader] = {}
        for place in places:
            self._readers[place.partition] = Reader(place, start.next[place.partition], skip_lost=skip_lost)
        self._turn = 0
        self.seek(start.next)

    @property
    def lost(self) -> int:
        """Rows passed over."""
        return sum(reader.lost for reader in self._readers.values())

    def poll(self, timeout_s: float, max_rows: int) -> list[Events]:
        """What is there, or what comes within the time."""
        until, pause = monotonic() + timeout_s, _SHORTEST_S
        while True:
            found = self._look(max_rows)
            left = until - monotonic()
            if found or left <= 0:
                return found
            sleep(min(pause, left))
            pause = min(1.2 * pause, _LONGEST_S)

    def next(self) -> dict[int, int]:
        """The next offset of each partition."""
        return {partition: reader.next for partition, reader in self._readers.items()}

    def ends(self) -> dict[int, int]:
        """The offset after the last row of each partition."""
        return {partition: reader.end for partition, reader in self._readers.items()}

    def lags(self) -> dict[int, int]:
        """How many rows of each partition are there and were not handed out."""
        return {partition: max(0, reader.end - reader.next) for partition, reader in self._readers.items()}

    def behind(self) -> list[int]:
        """The partitions of which there is more."""
        return [partition for partition, reader in self._readers.items() if reader.end > reader.next]

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Go on from other offsets.

        Raises:
            ConfigError: one is beyond the end, or of a partition that is not read here.
        """
        for partition, offset in offsets.items():
            reader = self._readers.get(partition)
            if reader is None:
                raise ConfigError(f"partition {partition} of topic '{self._topic}' is not read here")
            if offset > reader.end:
                raise ConfigError(
                    f"offset {offset} is beyond the end {reader.end} of partition {partition} of topic '{self._topic}': "
                    "the log was put back to an earlier state; start from an offset that it has"
                )
        for partition, offset in offsets.items():
            if self._readers[partition].next != offset:
                self._readers[partition].seek(offset)

    def assure(self) -> Offsets:
        """Where it stands, once what is before is synced."""
        for reader in self._readers.values():
            reader.assure()
        return Offsets(log=self._log, topic=self._topic, next=self.next())

    def commit(self, offsets: Offsets) -> None:
        """Keep them."""
        self._keep(offsets)

    def close(self) -> None:
        """Let go of the files."""
        for reader in self._readers.values():
            reader.close()

    def _look(self, max_rows: int) -> list[Events]:
        """Every partition once, each time another first; a failure is told when nothing came before it."""
        readers = list(self._readers.values())
        self._turn = (self._turn + 1) % len(readers)
        found: list[Events] = []
        rows = 0
        for reader in readers[self._turn :] + readers[: self._turn]:
            if rows >= max_rows:
                break
            got = reader.read(max_rows - rows)
            rows += sum(len(events.rows) for events in got)
            found += got
        return found
