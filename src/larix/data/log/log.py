"""What an event log is: the one interface of the log on disk and of Kafka. Knows neither.

A topic has partitions; a partition is a row of appends that never change; an append is one record batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from larix.data.log.columns import Column
from larix.data.log.offsets import Offsets
from larix.data.log.retention import Retention

if TYPE_CHECKING:
    from larix.data.log.consumer import Consumer


class EventLog(ABC):
    """Append record batches, and read them as they come or again. Threads may share it; close it, or use ``with``.

    Offsets count rows on disk and messages in Kafka: they rise, and mean nothing else. Times are milliseconds since the
    epoch by the clock of whoever appends; an event's own time is a column like others, and the log does not look at it.
    """

    @property
    @abstractmethod
    def id(self) -> str:
        """Tells this log from every other."""

    @abstractmethod
    def topics(self) -> dict[str, int]:
        """The number of partitions of each topic, by name."""

    @abstractmethod
    def create(self, topic: str, *, partitions: int = 1, retention: Retention | None = None) -> None:
        """Make a topic, or give one that is there another retention.

        Raises:
            ConfigError: the name or the number of partitions is out of range, or the topic has another number.
        """

    @abstractmethod
    def append(self, topic: str, events: pa.RecordBatch, *, partition: int = 0) -> int:
        """Append rows in order; return the offset of the first once all are durable. All are there, or none.

        Threads that append at the same time share the wait for the disk (or for the brokers).

        Raises:
            ConfigError: there is no such topic or partition, or the rows are too large for one append.
            StorageError: they could not be made durable, and are not there: a full disk, no broker.
            LeaseError: another process appends to this partition on disk.
        """

    @abstractmethod
    def send(self, topic: str, events: pa.RecordBatch, *, partition: int = 0) -> None:
        """Append rows without waiting: they are durable after the next `flush`, and mostly within milliseconds.

        Raises as `append` does; that an earlier one failed may be told here or by `flush`.
        """

    @abstractmethod
    def flush(self) -> None:
        """Wait until all that was sent is durable.

        Raises:
            StorageError: some of it could not be made durable, and is not there.
        """

    @abstractmethod
    def oldest(self, topic: str) -> Offsets:
        """The first events that are still there."""

    @abstractmethod
    def newest(self, topic: str) -> Offsets:
        """The place after the last events."""

    @abstractmethod
    def at_time(self, topic: str, time_ms: int) -> Offsets:
        """A place with no event before it that was appended at ``time_ms`` or later."""

    @abstractmethod
    def consumer(
        self,
        topic: str,
        *,
        columns: Sequence[Column] | None = None,
        start: Offsets | None = None,
        group: str | None = None,
        partitions: Sequence[int] | None = None,
        dead_letters: str | None = None,
        skip_lost: bool = False,
    ) -> "Consumer":
        """Read a topic, from one place on and then as events come.

        Args:
            topic: which.
            columns: what is wanted, as what; None gives events as they were appended.
            start: where to begin; default: where ``group`` committed last, else at the oldest event.
            group: the name under which `Consumer.commit` keeps the position; on disk it does no more than that.
            partitions: which; default: all, or in Kafka, with a group, those that the group assigns.
            dead_letters: the topic for events that cannot be had as ``columns``; default: ``TOPIC.dead``, made when
                the first comes.
            skip_lost: go on after events that damage or retention has taken, and count them (`Consumer.lost`); otherwise
                reading raises.

        Raises:
            ConfigError: there is no such topic or partition, or ``start`` is of another log or topic.
        """

    @abstractmethod
    def close(self) -> None:
        """Wait for what was sent, and let others append."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
