"""The event log in a folder of one machine: no server, any number of readers, one writing process a partition.

Knows nothing of frames; a partition's `Writer` and `Reader` do.
"""

import contextlib
import json
import os
import re
import threading
import time
import uuid
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from larix.data.log.columns import Column
from larix.data.log.commit import Committer
from larix.data.log.consumer import Consumer
from larix.data.log.following import Following
from larix.data.log.head import Head
from larix.data.log.lease import Lease, LeaseError
from larix.data.log.ledger import Ledger, Topic
from larix.data.log.log import EventLog
from larix.data.log.offsets import Offsets
from larix.data.log.place import Place, sync_folder
from larix.data.log.retention import Retention, expire
from larix.data.log.segment import Segment
from larix.data.log.writer import Writer
from larix.errors import ConfigError, StorageError

_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_MOST_PARTITIONS = 1024
_LONG_AGO = -(1 << 62)
_WAIT_FOR_LETTERS_S = 10.0  # while other processes write theirs


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class DiskLog(EventLog):
    """A log in ``folder``, made if it is not there.

    The first append to a partition takes its lease, which `close` or `release` gives back. Rows can be read as soon as they
    are written, also by other processes, and `append` returns once they are synced.

    Args:
        folder: on a local disk; locks and shared memory of network file systems are not sound enough.
        segment_bytes: a new file is begun when one would grow larger; retention removes whole files.
        commit_every_s: how long what was sent (`send`) waits for a sync at most.
        clock: gives the time of an append in milliseconds since the epoch.

    Raises:
        ConfigError: the folder holds something else.
        StorageError: it cannot be written, or is of another version.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        segment_bytes: int = 256 << 20,
        commit_every_s: float = 0.005,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        if not 4096 <= segment_bytes <= 1 << 40:
            raise ConfigError(f"segment_bytes must be between 4096 and 2**40, got {segment_bytes}")
        if not 0 < commit_every_s <= 60:
            raise ConfigError(f"commit_every_s must be above 0 and at most 60, got {commit_every_s}")
        self.folder = Path(folder)
        self._segment_bytes = segment_bytes
        self._clock = clock
        self._id = _identified(self.folder)
        self._ledger = Ledger(self.folder / "log.sqlite")
        self._lock = threading.Lock()
        self._burying = threading.Lock()
        self._writers: dict[tuple[str, int], Writer] = {}
        self._committer = Committer(commit_every_s)

    @property
    def id(self) -> str:  # noqa: D102
        return self._id

    def topics(self) -> dict[str, int]:  # noqa: D102
        return {name: topic.partitions for name, topic in self._ledger.topics().items()}

    def create(self, topic: str, *, partitions: int = 1, retention: Retention | None = None) -> None:
        """Make a topic, or give one that is there another retention; None leaves it as it is."""
        if not _NAME.fullmatch(topic):
            raise ConfigError(
                f"'{topic}' is no name of a topic: letters, digits, '.', '_' and '-', at most 200, no '.' first"
            )
        if not 1 <= partitions <= _MOST_PARTITIONS:
            raise ConfigError(f"partitions must be between 1 and {_MOST_PARTITIONS}, got {partitions}")
        there = self._ledger.topics().get(topic)
        if there is None:
            self._make_folders(topic, partitions)
        if there is None or there.partitions == partitions:
            there = self._ledger.put_topic(topic, partitions, retention)
        if there.partitions != partitions:
            raise ConfigError(
                f"topic '{topic}' has {there.partitions} partitions, not {partitions}; keys would move: make another"
            )

    def append(self, topic: str, events: pa.RecordBatch, *, partition: int = 0) -> int:  # noqa: D102
        return self._writer(topic, partition).append(events)

    def send(self, topic: str, events: pa.RecordBatch, *, partition: int = 0) -> None:  # noqa: D102
        writer = self._writer(topic, partition)
        self._committer.add(writer, writer.put(events))

    def flush(self) -> None:  # noqa: D102
        self._committer.flush()

    def release(self, topic: str) -> None:
        """Let another process append to the topic's partitions."""
        self._committer.flush()
        with self._lock:
            for key in [key for key in self._writers if key[0] == topic]:
                self._writers.pop(key).close()

    def expire(self) -> int:
        """Remove the segments that the topics' retention no longer keeps; return how many.

        Also done whenever a segment is begun. Partitions that other processes append to are left to them.
        """
        removed = 0
        for topic in self.topics():
            for place in self._places(topic):
                with self._lock:
                    mine = (topic, place.partition) in self._writers
                with (
                    contextlib.suppress(LeaseError),
                    contextlib.nullcontext() if mine else Lease(place.lease, str(place)),
                ):
                    removed += self._expire(place)
        return removed

    def oldest(self, topic: str) -> Offsets:  # noqa: D102
        there = {place.partition: place.segments() for place in self._places(topic)}
        ends = self.newest(topic).next
        return self._offsets(topic, {key: min(each) if each else ends[key] for key, each in there.items()})

    def newest(self, topic: str) -> Offsets:  # noqa: D102
        ends = {}
        for place in self._places(topic):
            with Head(place.head) as head:
                ends[place.partition] = head.visible
        return self._offsets(topic, ends)

    def at_time(self, topic: str, time_ms: int) -> Offsets:
        """A place with no event before it that was appended at ``time_ms`` or later.

        Told by the largest time so far, so this holds however the clock jumped; events after it may be older.
        """
        ends = self.newest(topic).next
        found = {
            place.partition: _at_time(place, time_ms, ends[place.partition]) for place in self._places(topic)
        }
        return self._offsets(topic, found)

    def consumer(  # noqa: D102
        self,
        topic: str,
        *,
        columns: Sequence[Column] | None = None,
        start: Offsets | None = None,
        group: str | None = None,
        partitions: Sequence[int] | None = None,
        dead_letters: str | None = None,
        skip_lost: bool = False,
    ) -> Consumer:
        places = self._places(topic)
        if partitions is not None:
            for partition in partitions:
                self._known(topic, partition)
            places = [place for place in places if place.partition in partitions]
        if not places:
            raise ConfigError(f"no partition of topic '{topic}' is asked for")
        oldest = self.oldest(topic)
        if start is not None:
            start.fits(self._id, topic)
        kept = start.next if start is not None else self._ledger.committed(group, topic) if group else {}
        begin = {place.partition: kept.get(place.partition, oldest.next[place.partition]) for place in places}
        for place in places:
            self._look_at_end(place, begin[place.partition])

        def keep(offsets: Offsets) -> None:
            if group is None:
                raise ConfigError(
                    "only a consumer with a group can commit; give group=, or keep the position yourself"
                )
            offsets.fits(self._id, topic)
            self._ledger.commit(group, topic, offsets.next)

        source = Following(places, self._offsets(topic, begin), keep=keep, skip_lost=skip_lost)
        return Consumer(source, columns, lambda letters: self._bury(dead_letters or f"{topic}.dead", letters))

    def close(self) -> None:  # noqa: D102
        try:
            self._committer.flush()
        finally:
            self._committer.close()
            with self._lock:
                writers, self._writers = self._writers, {}
            for writer in writers.values():
                writer.close()
            self._ledger.close()

    def _make_folders(self, topic: str, partitions: int) -> None:
        try:
            for partition in range(partitions):
                place = self._place(topic, partition)
                place.folder.mkdir(parents=True, exist_ok=True)
                Head.create(place.head)
                for folder in (place.folder, *list(place.folder.parents)[:3]):
                    sync_folder(folder)
        except OSError as error:
            raise StorageError(f"'{self.folder}' cannot be written: {error.strerror}") from error

    def _place(self, topic: str, partition: int) -> Place:
        folder = self.folder / "topics" / topic / str(partition)
        return Place(folder=folder, log=self._id, topic=topic, partition=partition)

    def _places(self, topic: str) -> list[Place]:
        return [self._place(topic, partition) for partition in range(self._known(topic).partitions)]

    def _offsets(self, topic: str, offsets: dict[int, int]) -> Offsets:
        return Offsets(log=self._id, topic=topic, next=offsets)

    def _known(self, topic: str, partition: int = 0) -> Topic:
        topics = self._ledger.topics()
        if topic not in topics:
            there = ", ".join(topics) or "none"
            raise ConfigError(
                f"there is no topic '{topic}' in '{self.folder}', which has {there}; create it first"
            )
        if not 0 <= partition < topics[topic].partitions:
            raise ConfigError(
                f"topic '{topic}' has no partition {partition}; it has 0 to {topics[topic].partitions - 1}"
            )
        return topics[topic]

    def _writer(self, topic: str, partition: int) -> Writer:
        with self._lock:
            writer = self._writers.get((topic, partition))
            if writer is None:
                retention = self._known(topic, partition).retention
                place = self._place(topic, partition)
                writer = self._writers[topic, partition] = Writer(
                    place,
                    segment_bytes=self._segment_bytes,
                    # So that old events go in time where few come: a quarter of the age later at most.
                    segment_age_s=None if retention.age_s is None else retention.age_s / 4,
                    clock=self._clock,
                    rolled=lambda: self._expire(place),
                )
            return writer

    def _look_at_end(self, place: Place, offset: int) -> None:
        """If a head is behind ``offset``, a power cut may have put it back: whoever appends next would set it right."""
        with Head(place.head) as head:
            if offset <= head.visible:
                return
        with contextlib.suppress(LeaseError):
            self._briefly(place.topic, place.partition, lambda writer: None)

    def _briefly(self, topic: str, partition: int, use: Callable[[Writer], object]) -> None:
        """Use a partition's writer, and give its lease back unless this log had it before."""
        with self._lock:
            had = (topic, partition) in self._writers
        use(self._writer(topic, partition))
        if not had:
            with self._lock:
                self._writers.pop((topic, partition)).close()

    def _expire(self, place: Place) -> int:
        return expire(place, self._known(place.topic).retention, self._clock())

    def _bury(self, topic: str, letters: pa.RecordBatch) -> None:
        """Append to a topic that other consumers' processes append to, too: the lease is given back at once."""
        until = time.monotonic() + _WAIT_FOR_LETTERS_S
        with self._burying:
            if topic not in self.topics():
                self.create(topic)
            while True:
                try:
                    self._briefly(topic, 0, lambda writer: writer.append(letters))
                    return
                except LeaseError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.01)


def _identified(folder: Path) -> str:
    """The id of the log in ``folder``; a new one's, if the folder is empty or not there."""
    path = folder / "log.json"
    try:
        if not path.exists():
            if folder.exists() and not all(map(_begun, folder.iterdir())) and not path.exists():
                raise ConfigError(f"'{folder}' is not empty and is no event log; give another folder")
            folder.mkdir(parents=True, exist_ok=True)
            fresh = folder / f"log-{uuid.uuid4().hex}.new"
            with fresh.open("w", encoding="utf-8") as file:
                json.dump({"format": _FORMAT, "id": uuid.uuid4().hex}, file)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(fresh, path)  # of several processes that make it, one does
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
            sync_folder(folder)
        said = json.loads(path.read_text(encoding="utf-8"))
        kind, name = said["format"], str(said["id"])
    except OSError as error:
        raise StorageError(f"'{folder}' cannot be written: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"'{path}' is damaged: it does not say which log this is; restore it") from error
    if kind != _FORMAT:
        raise StorageError(f"'{folder}' has format {kind}, not {_FORMAT}; use the larix that wrote it")
    return name


def _begun(path: Path) -> bool:
    """Whether another process is about to make this log, or died when it was."""
    return path.name.startswith("log-") and path.suffix == ".new"


def _at_time(place: Place, time_ms: int, end: int) -> int:
    """The offset of the first append whose largest time so far is ``time_ms`` or later; ``end`` if there is none."""
    while True:
        there = place.segments()
        try:
            return min(end, _search(place, there, time_ms, end))
        except StorageError:
            if place.segments() == there:
                raise  # otherwise a segment was removed meanwhile


def _search(place: Place, segments: list[int], time_ms: int, end: int) -> int:
    # The last segment that begins before the time comes first, for it may go on beyond it.
    at = bisect_left(segments, time_ms, key=lambda first: _first_time(place, first))
    for first in segments[max(0, at - 1) :]:
        with Segment(place, first) as segment:
            _, header = segment.seek_time(time_ms)
        if header is not None:
            return header.first
    return end


def _first_time(place: Place, segment: int) -> int:
    with Segment(place, segment) as opened:
        _, header = opened.seek_time(_LONG_AGO)
    return 1 << 62 if header is None else header.latest_ms
