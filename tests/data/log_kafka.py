"""Kafka on the wire without a server: librdkafka's own mock of a cluster, which one client holds and others talk to."""

import time

import confluent_kafka

PARTITIONS = 4  # the mock gives every topic so many
QUIET = {"log_level": 0}
# The mock lets a group that lost a member wait for a session's length less a second.
SHORT = QUIET | {"session.timeout.ms": 2500, "heartbeat.interval.ms": 200}


class Mock:
    """Brokers at ``servers`` while it lives; a topic there is made by being asked for."""

    def __init__(self) -> None:
        self._holder = confluent_kafka.Producer(
            {"test.mock.num.brokers": 1, "bootstrap.servers": "none", "log_level": 0}
        )
        broker = next(iter(self._holder.list_topics(timeout=10).brokers.values()))
        self.servers = f"{broker.host}:{broker.port}"

    def make(self, topic: str) -> None:
        until = time.monotonic() + 10
        while len(self._holder.list_topics(topic, timeout=10).topics[topic].partitions) != PARTITIONS:
            assert time.monotonic() < until
            time.sleep(0.01)

    def put(self, topic: str, raw: bytes, headers: dict | None = None, partition: int = 0) -> None:
        """A message as some other producer sends it."""
        self._holder.produce(topic, raw, partition=partition, headers=headers)
        assert self._holder.flush(10) == 0

    def messages(self, topic: str, partition: int = 0) -> list:
        """The messages as any client sees them."""
        client = confluent_kafka.Consumer(
            {"bootstrap.servers": self.servers, "group.id": "sees", "log_level": 0}
        )
        client.assign([confluent_kafka.TopicPartition(topic, partition, 0)])
        low, high = client.get_watermark_offsets(confluent_kafka.TopicPartition(topic, partition), timeout=10)
        found = []
        while len(found) < high - low:
            found += [each for each in client.consume(100, 0.5) if each.error() is None]
        client.close()
        return found
