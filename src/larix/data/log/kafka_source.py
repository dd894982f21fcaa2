"""Partitions in Kafka as a consumer's source: those that it took, or those that its group gives it for now.

Talks to a client of confluent-kafka that it is given. Knows nothing of columns.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from time import monotonic
from typing import Any

import pyarrow as pa

from larix.data.log.events import Events, Unreadable
from larix.data.log.offsets import Offsets
from larix.errors import ConfigError, DataError, StorageError

_AT_ONCE = 64  # messages taken from the client at a time
_PATIENCE_S = 30.0  # for an answer of the brokers
_LAG_AGE_S, _BEHIND_AGE_S = 1.0, 0.25  # how old their answers may be


class KafkaSource:
    """Call `join` or `take` first. ``lost`` counts the messages that were gone, if ``skip_lost``.

    Args:
        kafka: the module of the client.
        client: a consumer with the settings of `KafkaLog`.
        topic: what is read.
        group: under which positions are committed; None: they are not.
        log: the id of the cluster.
        ask: calls its argument and tells failures of the brokers as ours.
        ends: the offsets of a partition's oldest message and after its newest.
        decode: makes rows of a payload and its headers.
        skip_lost: go on after messages that are gone.
    """

    def __init__(
        self,
        kafka: Any,
        client: Any,
        topic: str,
        group: str | None,
        *,
        log: str,
        ask: Callable[[Callable[[], Any]], Any],
        ends: Callable[[int], tuple[int, int]],
        decode: Callable[[bytes, Mapping[str, str]], pa.RecordBatch],
        skip_lost: bool,
    ) -> None:
        self._kafka, self._client = kafka, client
        self._topic, self._group, self._log = topic, group, log
        self._ask, self._ends, self._decode = ask, ends, decode
        self._skip = skip_lost
        self._next: dict[int, int] = {}
        self._held: deque[Any] = deque()
        self._joined = False
        self._stopped = False  # the client stopped at an offset that is gone
        self._said: dict[
            int, tuple[int, float]
        ] = {}  # by partition, the end that brokers said last, and when
        self.lost = 0

    def join(self) -> None:
        """Take the partitions that the group gives, from time to time others."""
        self._joined = True

        def given(_: Any, partitions: Sequence[Any]) -> None:
            self._begin([each.partition for each in partitions], {})

        def taken(_: Any, partitions: Sequence[Any]) -> None:
            for each in partitions:
                self._next.pop(each.partition, None)

        self._client.subscribe([self._topic], on_assign=given, on_revoke=taken, on_lost=taken)

    def take(self, partitions: Sequence[int], start: Mapping[int, int]) -> None:
        """Take these partitions for good."""
        self._begin(partitions, start)

    def poll(self, timeout_s: float, max_rows: int) -> Sequence[Events | Unreadable]:
        """What is there, or what comes within the time."""
        found: list[Events | Unreadable] = []
        rows = 0
        if self._stopped:
            self._go_to(self._next)
        while rows < max_rows:
            if not self._held:
                self._fill(0.0 if found else timeout_s)
                if not self._held:
                    break
            try:
                each = self._taken(self._held[0])
            except StorageError:
                if found:
                    break  # told by the next poll
                self._held.popleft()
                raise
            self._held.popleft()
            if each is not None:
                found.append(each)
                rows += len(each.rows) if isinstance(each, Events) else 1
        return found

    def next(self) -> dict[int, int]:
        """The next offset of each partition that it has now."""
        return dict(self._next)

    def ends(self) -> dict[int, int]:
        """The offset after the last message of each partition that it has now."""
        return {partition: self._asked(partition) for partition in self._next}

    def lags(self) -> dict[int, int]:
        """How much is there; where there is some, as brokers said a second ago at most."""
        found = {}
        for partition, offset in self._next.items():
            end, at = self._said.get(partition, (0, -inf))
            if end <= offset or monotonic() - at >= _LAG_AGE_S:
                end = self._asked(partition)
            found[partition] = max(0, end - offset)
        return found

    def behind(self) -> list[int]:
        """The partitions of which there is more, as the last fetch told, or brokers a quarter of a second ago at most."""
        return [partition for partition, offset in self._next.items() if self._more(partition, offset)]

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Go on from other offsets."""
        for partition in offsets:
            if partition not in self._next:
                raise ConfigError(f"{where(self._topic, partition)} is not read here")
        if any(self._next[partition] != offset for partition, offset in offsets.items()):
            self._next.update(offsets)
            self._go_to(offsets)

    def assure(self) -> Offsets:
        """Where it stands: all that was handed out is with the brokers."""
        return Offsets(log=self._log, topic=self._topic, next=self.next())

    def commit(self, offsets: Offsets) -> None:
        """Keep them under the group's name."""
        if self._group is None:
            raise ConfigError(
                "only a consumer with a group can commit; give group=, or keep the position yourself"
            )
        offsets.fits(self._log, self._topic)
        if offsets.next:
            self._ask(lambda: self._client.commit(offsets=self._places(offsets.next), asynchronous=False))

    def close(self) -> None:
        """Leave the group."""
        self._client.close()

    def _places(self, offsets: Mapping[int, int]) -> list[Any]:
        return [self._kafka.TopicPartition(self._topic, *each) for each in offsets.items()]

    def _begin(self, partitions: Sequence[int], start: Mapping[int, int]) -> None:
        """Assign partitions, each from where ``start`` says, or the group committed, or at its oldest message."""
        kept: dict[int, int] = {}
        if self._group is not None:
            asked = [self._kafka.TopicPartition(self._topic, each) for each in partitions]
            found = self._ask(lambda: self._client.committed(asked, timeout=_PATIENCE_S))
            kept = {each.partition: each.offset for each in found if each.offset >= 0}
        kept.update(start)
        self._held.clear()
        self._next = {each: kept[each] if each in kept else self._low_and_end(each)[0] for each in partitions}
        self._client.assign(self._places(self._next))

    def _go_to(self, offsets: Mapping[int, int]) -> None:
        self._stopped = False
        self._held = deque(each for each in self._held if each.partition() not in offsets)
        if self._joined:
            for place in self._places(offsets):
                self._ask(partial(self._client.seek, place))
        else:
            self._held.clear()
            self._client.assign(self._places(self._next))

    def _more(self, partition: int, offset: int) -> bool:
        place = self._kafka.TopicPartition(self._topic, partition)
        fetched = self._client.get_watermark_offsets(place, cached=True)
        end, at = self._said.get(partition, (0, -inf))
        if (fetched is not None and fetched[1] > offset) or end > offset:
            return True
        return monotonic() - at >= _BEHIND_AGE_S and self._asked(partition) > offset

    def _asked(self, partition: int) -> int:
        """The partition's end, as brokers say now."""
        return self._low_and_end(partition)[1]

    def _low_and_end(self, partition: int) -> tuple[int, int]:
        low, end = self._ends(partition)
        self._said[partition] = end, monotonic()
        return low, end

    def _fill(self, timeout_s: float) -> None:
        first = self._client.poll(timeout_s)
        if first is not None:
            self._held.append(first)
            self._held.extend(self._client.consume(_AT_ONCE, 0))

    def _taken(self, message: Any) -> Events | Unreadable | None:
        error, partition = message.error(), message.partition()
        if error is not None:
            self._told(error, partition, message)
            return None
        if partition not in self._next or message.offset() < self._next[partition]:
            return None
        self._next[partition] = message.offset() + 1
        stands = {
            "topic": self._topic,
            "partition": partition,
            "offset": message.offset(),
            "time_ms": message.timestamp()[1],
        }
        raw = message.value() or b""
        headers = {
            name: (value or b"").decode("utf-8", "replace") for name, value in message.headers() or () if name
        }
        try:
            return Events(**stands, rows=self._decode(raw, headers))
        except DataError as fault:
            return Unreadable(**stands, raw=raw, reason=str(fault))

    def _told(self, error: Any, partition: int, message: Any) -> None:
        """What comes in place of a message: an end, an offset that is gone, a failure."""
        codes = self._kafka.KafkaError
        if error.code() == codes._PARTITION_EOF:
            if partition in self._next:  # past the marks of transactions, which are no messages
                self._next[partition] = max(self._next[partition], message.offset())
            return
        if (
            error.code() not in (codes._AUTO_OFFSET_RESET, codes.OFFSET_OUT_OF_RANGE)
            or partition not in self._next
        ):
            if not error.retriable():
                raise StorageError(f"topic '{self._topic}' cannot be read: {error.str()}")
            return
        low, high = self._low_and_end(partition)
        here = self._next[partition]
        until = low if here < low else high
        self._stopped = True
        if not self._skip:
            raise StorageError(
                f"messages {here} to {until - 1} of {where(self._topic, partition)} are gone, as its retention asks; seek "
                "past them, or read with skip_lost=True, which counts them"
            )
        self.lost += max(0, until - here)
        self._next[partition] = until


def where(topic: str, partition: int) -> str:
    """How messages of ours call a partition."""
    return f"partition {partition} of topic '{topic}'"
