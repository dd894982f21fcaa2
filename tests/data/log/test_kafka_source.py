"""What a source makes of what the client tells it, also of what no mock of a cluster sends; the client is played."""

from types import SimpleNamespace

import confluent_kafka
import pytest

from larix.data.log.events import Unreadable
from larix.data.log.kafka_source import KafkaSource
from larix.errors import DataError, StorageError


class Fault:
    """An error of the client's, as far as it is looked at."""

    def __init__(self, code, retriable=False):
        self._code, self._retriable = code, retriable

    def code(self):
        return self._code

    def retriable(self):
        return self._retriable

    def str(self):
        return f"fault {self._code}"


class Message:
    def __init__(self, partition, offset, error=None):
        self._said = partition, offset, error

    def partition(self):
        return self._said[0]

    def offset(self):
        return self._said[1]

    def error(self):
        return self._said[2]

    def value(self):
        return b"%d/%d" % self._said[:2]

    def headers(self):
        return None

    def timestamp(self):
        return 1, 5


class Client:
    """Hands out what it is given, and notes what it is asked."""

    def __init__(self):
        self.waiting, self.assigned, self.sought, self.fetched = [], [], [], {}

    def subscribe(self, topics, on_assign, on_revoke, on_lost):
        self.given, self.taken = on_assign, on_revoke
        assert on_lost == on_revoke

    def committed(self, places, timeout):
        return [
            confluent_kafka.TopicPartition("t", place.partition, 10 * place.partition - 1) for place in places
        ]

    def assign(self, places):
        self.assigned.append({place.partition: place.offset for place in places})

    def get_watermark_offsets(self, place, cached):
        assert cached, "brokers are asked by who made the source"
        return self.fetched.get(place.partition, (-1001, -1001))

    def seek(self, place):
        self.sought.append((place.partition, place.offset))

    def poll(self, timeout):
        return self.waiting.pop(0) if self.waiting else None

    def consume(self, most, timeout):
        waiting, self.waiting = self.waiting, []
        return waiting


def no_rows(raw, headers):
    raise DataError(raw.decode())


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def asked():
    """The partitions whose ends the brokers were asked for."""
    return []


@pytest.fixture
def source(client, asked):
    def make(group="g", ends=(3, 100), skip_lost=False):
        return KafkaSource(
            confluent_kafka,
            client,
            "t",
            group,
            log="cluster",
            ask=lambda ask: ask(),
            ends=lambda partition: asked.append(partition) or ends,
            decode=no_rows,
            skip_lost=skip_lost,
        )

    return make


def places(*partitions):
    return [SimpleNamespace(partition=partition) for partition in partitions]


def read(source, most=100):
    return [each.reason for each in source.poll(0, most)]


EOF = Fault(confluent_kafka.KafkaError._PARTITION_EOF)


def test_partitions_begin_where_the_group_committed_or_at_their_oldest_message(source, client):
    joined = source()
    joined.join()
    client.given(client, places(0, 2))
    assert client.assigned == [{0: 3, 2: 19}]
    assert joined.next() == {0: 3, 2: 19}


def test_nothing_of_a_partition_comes_once_it_was_taken(source, client):
    joined = source()
    joined.join()
    client.given(client, places(1, 2))
    client.waiting = [Message(1, 9), Message(2, 19), Message(1, 10)]
    assert read(joined, most=1) == ["1/9"]
    client.taken(client, places(1))
    assert joined.next() == {2: 19}
    assert read(joined) == ["2/19"]


def test_what_was_held_is_dropped_when_partitions_are_dealt_anew(source, client):
    joined = source()
    joined.join()
    client.given(client, places(1))
    client.waiting = [Message(1, 9), Message(1, 10), Message(1, 11)]
    assert read(joined, most=1) == ["1/9"]
    client.given(
        client, places(1)
    )  # it begins again at what is committed: what was held would be out of turn
    client.waiting = [Message(1, 9), Message(1, 10)]
    assert read(joined) == ["1/9", "1/10"]


def test_marks_of_transactions_at_the_end_are_passed(source, client):
    alone = source(group=None)
    alone.take([0], {0: 5})
    client.waiting = [Message(0, 5), Message(0, 8, EOF)]
    assert read(alone) == ["0/5"]
    assert alone.next() == {0: 8}
    client.waiting = [Message(0, 7, EOF), Message(3, 50, EOF)]
    read(alone)
    assert alone.next() == {0: 8}


def test_brokers_are_asked_whether_there_is_more_only_where_no_fetch_told_of_it(source, client, asked):
    reading = source(group=None, ends=(3, 100))
    reading.take([0, 1, 2], {0: 5, 1: 5, 2: 100})
    client.fetched = {0: (0, 40), 1: (0, 5)}
    asked.clear()
    assert reading.behind() == [0, 1]
    assert asked == [1, 2]


def test_a_lag_costs_brokers_a_question_a_second_while_there_is_one_and_0_is_always_true(
    source, client, asked, monkeypatch
):
    now, ends = [100.0], {}
    monkeypatch.setattr("larix.data.log.kafka_source.monotonic", lambda: now[0])
    reading = source(group=None, ends=(0, 100))
    reading._ends = lambda partition: asked.append(partition) or (0, ends[partition])
    ends |= {0: 100, 1: 5}
    reading.take([0, 1], {0: 5, 1: 5})
    for _ in range(5):
        assert reading.lags() == {0: 95, 1: 0}
    assert asked == [0, *[1] * 5], "who has read all is told what is true now"
    asked.clear()
    ends |= {0: 140, 1: 7}
    assert reading.lags() == {0: 95, 1: 2}, "what comes meanwhile is seen where nothing was left"
    now[0] += 0.999
    client.fetched = {0: (0, 120)}  # transactions that are open may be in there
    assert reading.lags() == {0: 95, 1: 2}
    assert asked == [1]
    now[0] += 0.001
    assert reading.lags() == {0: 135, 1: 2}
    now[0] += 0.001
    assert reading.lags() == {0: 135, 1: 2}
    assert asked == [1, 0, 1], "a second ago"
    reading.seek({0: 139})
    assert reading.lags() == {0: 1, 1: 2}
    assert asked == [1, 0, 1], "where it stands is known here"


def test_whether_there_is_more_is_asked_four_times_a_second_at_most(source, client, asked, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("larix.data.log.kafka_source.monotonic", lambda: now[0])
    reading = source(group=None, ends=(0, 100))
    reading.take([0], {0: 100})
    for _ in range(10):
        assert reading.behind() == []
    assert asked == [0]
    now[0] += 0.25
    assert reading.behind() == []
    assert asked == [0, 0]


def test_a_failure_is_told_after_what_came_before_it_and_a_passing_one_is_not(source, client):
    alone = source(group=None)
    alone.take([0], {0: 5})
    client.waiting = [
        Message(0, 5),
        Message(0, -1, Fault(7, retriable=True)),
        Message(0, -1, Fault(29)),
        Message(0, 6),
    ]
    assert read(alone) == ["0/5"]
    with pytest.raises(StorageError, match="topic 't' cannot be read: fault 29"):
        read(alone)
    assert read(alone) == ["0/6"]


@pytest.mark.parametrize(
    "code", [confluent_kafka.KafkaError._AUTO_OFFSET_RESET, confluent_kafka.KafkaError.OFFSET_OUT_OF_RANGE]
)
def test_messages_that_retention_took_are_told_or_counted(source, client, code):
    strict = source(group=None, ends=(40, 100))
    strict.take([0], {0: 5})
    client.waiting = [Message(0, 5, Fault(code))]
    with pytest.raises(StorageError, match="messages 5 to 39 of partition 0 of topic 't' are gone"):
        read(strict)
    assert strict.next() == {0: 5}
    client.waiting = [Message(0, 5, Fault(code))]  # it asks the brokers again, and is told again
    with pytest.raises(StorageError, match="messages 5 to 39"):
        read(strict)
    skipping = source(group=None, ends=(40, 100), skip_lost=True)
    skipping.take([0], {0: 5})
    client.waiting = [Message(0, 5, Fault(code))]
    assert read(skipping) == []
    client.waiting = [Message(0, 40)]
    assert read(skipping) == ["0/40"]
    assert client.assigned[-1] == {0: 40}
    assert skipping.lost == 35


def test_seeking_in_a_group_moves_no_other_partition(source, client):
    joined = source()
    joined.join()
    client.given(client, places(1, 2))
    client.waiting = [Message(1, 9), Message(1, 10), Message(2, 19)]
    assert read(joined, most=2) == ["1/9", "1/10"]
    joined.seek({1: 9})
    assert client.sought == [(1, 9)]
    client.waiting = [Message(1, 9)]
    assert read(joined) == ["2/19", "1/9"]


def test_a_message_keeps_its_place_when_it_holds_no_rows(source, client):
    alone = source(group=None)
    alone.take([0], {})
    client.waiting = [Message(0, 3)]
    (got,) = alone.poll(0, 1)
    assert got == Unreadable(topic="t", partition=0, offset=3, time_ms=5, raw=b"0/3", reason="0/3")
