"""The event log in Kafka: the only file that imports it. Needs the extra ``larix[kafka]``, when a log is opened.

An append is one message. Offsets count messages; retention, replication and transactions are the brokers' business.
"""

import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from larix.data.log import avro, payload
from larix.data.log.columns import Column
from larix.data.log.consumer import Consumer
from larix.data.log.kafka_source import KafkaSource, where
from larix.data.log.log import EventLog
from larix.data.log.offsets import Offsets
from larix.data.log.retention import Retention
from larix.errors import ConfigError, StorageError

_PATIENCE_S = 30.0  # for an answer of the brokers


def _library() -> Any:
    try:
        import confluent_kafka
        import confluent_kafka.admin
    except ImportError as error:
        raise ConfigError("a log in Kafka needs confluent-kafka; pip install 'larix[kafka]'") from error
    return confluent_kafka


class KafkaLog(EventLog):
    """The log of the brokers ``servers`` ("host:port,host:port").

    Args:
        servers: where to begin to look for brokers.
        payload: how rows are written; rows of all kinds, and JSON and Avro of other producers, are read.
        foreign: what messages without our header are taken for.
        options: more settings of librdkafka for all clients, such as ``security.protocol``.

    Raises:
        ConfigError: the extra is not installed, or a setting is unknown.
    """

    def __init__(
        self,
        servers: str,
        *,
        payload: payload.Format = "arrow",
        foreign: payload.Format = "json",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._kafka = _library()
        if "avro" in (payload, foreign):
            avro.library()
        self._format, self._foreign = payload, foreign
        self._options = {"bootstrap.servers": servers, "log_level": 3, **(options or {})}
        self._lock = threading.Lock()
        self._burying = threading.Lock()
        self._failure: str | None = None
        self._known: dict[str, int] = {}
        self._cluster = ""
        try:
            sending = {"acks": "all", "enable.idempotence": True, "linger.ms": 2, "compression.type": "lz4"}
            self._producer = self._kafka.Producer({**sending, **self._options})
            self._asking = self._consumer_of("larix-asks")
        except self._kafka.KafkaException as error:
            raise ConfigError(f"Kafka's client does not take these settings: {_why(error)}") from error

    @property
    def id(self) -> str:  # noqa: D102
        if not self._cluster:
            self._cluster = str(self._metadata().cluster_id)
        return self._cluster

    def topics(self) -> dict[str, int]:
        """The number of partitions of each topic, by name; without Kafka's own."""
        found = self._metadata().topics.items()
        return {name: len(topic.partitions) for name, topic in sorted(found) if not name.startswith("__")}

    def create(self, topic: str, *, partitions: int = 1, retention: Retention | None = None) -> None:
        """Make a topic with the brokers' own replication factor, or give one that is there another retention."""
        if partitions < 1:
            raise ConfigError(f"partitions must be at least 1, got {partitions}")
        there = self.topics().get(topic)
        if there is not None and there != partitions:
            raise ConfigError(
                f"topic '{topic}' has {there} partitions, not {partitions}; keys would move: make another"
            )
        admin = self._kafka.admin
        kept = _settings(retention)
        if there is None:
            asked = admin.NewTopic(topic, partitions, -1, config=kept)
            self._ask_admin(lambda client: client.create_topics([asked]))
        elif kept:
            entries = [
                admin.ConfigEntry(name, value, incremental_operation=admin.AlterConfigOpType.SET)
                for name, value in kept.items()
            ]
            asked = admin.ConfigResource(admin.ResourceType.TOPIC, topic, incremental_configs=entries)
            self._ask_admin(lambda client: client.incremental_alter_configs([asked]))

    def append(self, topic: str, events: pa.RecordBatch, *, partition: int = 0) -> int:
        """Append rows as one message; return its offset once all replicas in sync have it."""
        return self._append(topic, events, partition, self._format)

    def _append(self, topic: str, events: pa.RecordBatch, partition: int, kind: payload.Format) -> int:
        told: list[tuple[Any, Any]] = []
        self._produce(topic, events, partition, kind, lambda error, message: told.append((error, message)))
        while not told:
            self._producer.poll(0.05)
        error, message = told[0]
        if error is not None:
            raise StorageError(f"{where(topic, partition)} cannot be written: {error.str()}")
        return int(message.offset())

    def send(self, topic: str, events: pa.RecordBatch, *, partition: int = 0) -> None:  # noqa: D102
        def told(error: Any, _: Any) -> None:
            if error is not None:
                self._failure = f"{where(topic, partition)} cannot be written: {error.str()}"

        self._produce(topic, events, partition, self._format, told)
        self._producer.poll(0)
        self._raise_failure()

    def flush(self) -> None:  # noqa: D102
        while self._producer.flush(1.0):
            pass
        self._raise_failure()

    def oldest(self, topic: str) -> Offsets:  # noqa: D102
        return self._offsets(topic, {each: self._ends(topic, each)[0] for each in self._partitions(topic)})

    def newest(self, topic: str) -> Offsets:  # noqa: D102
        return self._offsets(topic, {each: self._ends(topic, each)[1] for each in self._partitions(topic)})

    def at_time(self, topic: str, time_ms: int) -> Offsets:
        """As Kafka tells it: by the message's own time, which its producer's clock gave."""
        ends = self.newest(topic).next
        asked = [self._kafka.TopicPartition(topic, each, time_ms) for each in ends]
        found = self._answer(lambda: self._asking.offsets_for_times(asked, timeout=_PATIENCE_S))
        at = {each.partition: each.offset if each.offset >= 0 else ends[each.partition] for each in found}
        return self._offsets(topic, at)

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
        ends = self.newest(topic).next
        for partition in partitions or ():
            self._check(topic, partition)
        if partitions is not None and not partitions:
            raise ConfigError(f"no partition of topic '{topic}' is asked for")
        if start is not None:
            start.fits(self.id, topic)
            for partition, offset in start.next.items():
                self._check(topic, partition)
                if offset > ends[partition]:
                    raise ConfigError(
                        f"offset {offset} is beyond the end {ends[partition]} of {where(topic, partition)}"
                    )
        client = self._consumer_of(group or f"larix-{uuid.uuid4().hex}")
        source = KafkaSource(
            self._kafka,
            client,
            topic,
            group,
            log=self.id,
            ask=self._answer,
            ends=lambda partition: self._ends(topic, partition),
            decode=lambda raw, headers: payload.decode(raw, headers, self._foreign),
            skip_lost=skip_lost,
        )
        if group is not None and partitions is None and start is None:
            source.join()
        else:
            source.take(partitions or list(ends), start.next if start is not None else {})
        return Consumer(source, columns, lambda letters: self._bury(dead_letters or f"{topic}.dead", letters))

    def close(self) -> None:  # noqa: D102
        try:
            self.flush()
        finally:
            self._asking.close()

    # What sources ask.

    def _answer(self, ask: Any) -> Any:
        try:
            return ask()
        except self._kafka.KafkaException as error:
            raise StorageError(f"Kafka at {self._options['bootstrap.servers']}: {_why(error)}") from error

    def _ends(self, topic: str, partition: int) -> tuple[int, int]:
        where = self._kafka.TopicPartition(topic, partition)
        low, high = self._answer(lambda: self._asking.get_watermark_offsets(where, timeout=_PATIENCE_S)) or (
            0,
            0,
        )
        return low, high

    def _offsets(self, topic: str, offsets: Mapping[int, int]) -> Offsets:
        return Offsets(log=self.id, topic=topic, next=dict(offsets))

    # The rest is its own.

    def _consumer_of(self, group: str) -> Any:
        reading = {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
        return self._kafka.Consumer({**reading, **self._options})

    def _metadata(self, topic: str | None = None) -> Any:
        # A consumer's question makes no topic; a producer's would.
        if topic is None:
            return self._answer(lambda: self._asking.list_topics(timeout=_PATIENCE_S))
        return self._answer(lambda: self._asking.list_topics(topic, timeout=_PATIENCE_S))

    def _partitions(self, topic: str) -> range:
        if topic not in self._known:
            found = self._metadata(topic).topics[topic]
            if found.error is not None or not found.partitions:
                there = ", ".join(self.topics()) or "none"
                raise ConfigError(f"there is no topic '{topic}' in Kafka, which has {there}; create it first")
            self._known[topic] = len(found.partitions)
        return range(self._known[topic])

    def _check(self, topic: str, partition: int) -> None:
        there = self._partitions(topic)
        if partition not in there:
            raise ConfigError(f"topic '{topic}' has no partition {partition}; it has 0 to {there[-1]}")

    def _produce(
        self, topic: str, events: pa.RecordBatch, partition: int, kind: payload.Format, told: Any
    ) -> None:
        self._check(topic, partition)
        raw, headers = payload.encode(events, kind)
        while True:
            try:
                self._producer.produce(topic, raw, partition=partition, headers=headers, on_delivery=told)
                return
            except BufferError:  # the queue is full: wait for those before
                self._producer.poll(0.1)
            except self._kafka.KafkaException as error:
                raise ConfigError(
                    f"an append of {len(raw):,} bytes to {where(topic, partition)} is refused: {_why(error)}; append "
                    "fewer rows, or raise message.max.bytes here and at the brokers"
                ) from error

    def _raise_failure(self) -> None:
        with self._lock:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise StorageError(failure)

    def _ask_admin(self, ask: Any) -> None:
        def asked() -> None:
            for answer in ask(self._kafka.admin.AdminClient(self._options)).values():
                answer.result(_PATIENCE_S)

        self._answer(asked)

    def _bury(self, topic: str, letters: pa.RecordBatch) -> None:
        with self._burying:
            if topic not in self._known and topic not in self.topics():
                self.create(topic)
            for row in range(len(letters)):  # each its own message, for messages must not grow large
                self._append(topic, letters.slice(row, 1), 0, "arrow")


def _settings(retention: Retention | None) -> dict[str, str]:
    if retention is None:
        return {}
    age_s, size = retention.age_s, retention.size_bytes
    return {
        "retention.ms": "-1" if age_s is None else str(int(age_s * 1000)),
        "retention.bytes": "-1" if size is None else str(size),
    }


def _why(error: Exception) -> str:
    fault = error.args[0] if error.args else error
    return fault.str() if hasattr(fault, "str") else str(fault)
