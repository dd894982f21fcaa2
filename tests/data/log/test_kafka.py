"""What Kafka alone does, on the wire against librdkafka's mock; `test_log.py` has what every log does."""

import io
import itertools
import json
import sys
import threading
import time
from typing import ClassVar

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from log_events import appends, numbered
from log_kafka import PARTITIONS, QUIET, SHORT, Mock

from larix.data.log import Column, KafkaLog, Offsets, Retention, read_letters
from larix.errors import ConfigError, StorageError

_counter = itertools.count()


@pytest.fixture(scope="module")
def mock():
    return Mock()


@pytest.fixture
def log(mock):
    with KafkaLog(mock.servers, options=SHORT) as opened:
        yield opened


@pytest.fixture
def topic(mock):
    name = f"taps-{next(_counter)}"
    mock.make(name)
    mock.make(f"{name}.dead")
    return name


def until(true, *polling, seconds=60):
    """Poll consumers until something is true; what each was handed."""
    found = [[] for _ in polling]
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        for each, consumer in zip(found, polling, strict=True):
            each += consumer.poll(0.05)
    return found


def test_a_lag_is_worked_off_with_a_question_a_second_and_none_where_there_is_none_to_ask(
    log, topic, monkeypatch
):
    asked = []
    ends = KafkaLog._ends
    monkeypatch.setattr(KafkaLog, "_ends", lambda self, *where: asked.append(where) or ends(self, *where))
    for n in range(400):
        log.send(topic, numbered(1, n, 1))
    log.flush()
    with log.consumer(topic, partitions=[0]) as consumer:
        asked.clear()
        lags, began = [consumer.lag], time.monotonic()
        while lags[-1]:
            consumer.poll(5, max_rows=1)
            lags.append(consumer.lag)
        took = time.monotonic() - began
        assert lags == list(range(400, -1, -1))
        assert len(asked) <= 2 + took  # the first, the last, and one a second
        log.append(topic, numbered(1, 400, 1))
        assert consumer.lag == 1


def test_a_group_shares_its_partitions_and_takes_over_those_of_who_leaves(log, topic):
    for n in range(12):
        log.append(topic, numbered(1, n, 10), partition=n % PARTITIONS)
    seen = []
    one = log.consumer(topic, group=topic)
    (got,) = until(lambda: one.position.next and not one.lag, one)
    assert appends_of(got) == [(1, n) for n in range(12)]
    one.commit()
    with log.consumer(topic, group=topic) as two:
        until(lambda: len(one.position.next) == len(two.position.next) == PARTITIONS // 2, one, two)
        assert not set(one.position.next) & set(two.position.next)
        for n in range(12, 24):
            log.append(topic, numbered(1, n, 10), partition=n % PARTITIONS)
        got, other = until(lambda: not one.lag and not two.lag, one, two)
        # What was committed before the rebalance is not seen again, and nothing is seen by both.
        assert sorted(appends_of(got) + appends_of(other)) == [(1, n) for n in range(12, 24)]
        assert {events.partition for events in got} == set(one.position.next)
        two.commit()
        seen = appends_of(got)  # of which nothing is committed
        one.close()
        (again,) = until(lambda: len(two.position.next) == PARTITIONS and not two.lag, two)
        assert appends_of(again) == sorted(seen)
        assert two.position.next == log.newest(topic).next


def appends_of(found):
    return sorted(each for events in found for each in appends([events.rows]))


def test_the_wire_holds_arrow_streams_with_the_schema_in_the_header(log, topic, mock):
    events = numbered(1, 0, 3)
    log.append(topic, events)
    log.append(topic, events.select(["row"]))
    one, two = mock.messages(topic)
    assert pa.ipc.open_stream(one.value()).read_all().to_batches() == [events]
    names = [dict(message.headers()) for message in (one, two)]
    assert [name["larix-format"] for name in names] == [b"arrow", b"arrow"]
    assert names[0]["larix-schema"] != names[1]["larix-schema"]


def test_the_wire_holds_avro_files_that_any_tool_reads_and_consumers_take_every_kind(log, topic, mock):
    events = pa.record_batch(
        {"user": pa.array([7, None], pa.int32()), "kind": ["tap", None], "late": pa.nulls(2)}
    )
    with KafkaLog(mock.servers, payload="avro", foreign="avro", options=SHORT) as other:
        other.append(topic, events)
        other.append(topic, events.slice(0, 0))
        other.send(topic, events.slice(1))
        other.flush()
        log.append(topic, events)
        message = mock.messages(topic)[0]
        assert dict(message.headers())["larix-format"] == b"avro"
        assert list(fastavro.reader(io.BytesIO(message.value()))) == events.to_pylist()
        mock.put(topic, message.value())  # as others send it, without headers
        with other.consumer(topic) as consumer:
            found = [each.rows for each in consumer.drain()]
    assert [rows.schema for rows in found] == [events.schema] * len(found)
    assert pa.Table.from_batches(found).to_pylist() == [
        *events.to_pylist(),
        *events.slice(1).to_pylist(),
        *events.to_pylist() * 2,
    ]


def test_json_comes_back_in_the_types_that_its_header_tells(topic, mock):
    events = pa.record_batch({"watched_s": [1.0, 2.0], "note": pa.nulls(2, pa.string())})
    with KafkaLog(mock.servers, payload="json", options=SHORT) as log:
        log.append(topic, events)
        with log.consumer(topic) as consumer:
            (found,) = consumer.drain()
    assert found.rows.schema == events.schema
    assert found.rows.equals(events)


def test_json_of_other_producers_is_read_and_what_cannot_be_is_kept_and_counted(log, topic, mock):
    mock.put(topic, b'{"user": 7, "kind": "tap", "extra": [1, 2]}')
    mock.put(topic, b"rubbish", {"x": b"y"})
    mock.put(topic, b'[{"user": "8", "kind": "hold"}, {"user": "nobody"}, {"user": null}]')
    mock.put(topic, b"?", {"larix-format": b"avro"})
    mock.put(topic, b"")
    log.append(topic, pa.record_batch({"user": [9]}))
    columns = [Column("user", pa.int64()), Column("kind", pa.string(), default="none")]
    with log.consumer(topic, columns=columns) as consumer:
        rows = [row for events in consumer.drain() for row in events.rows.to_pylist()]
        assert consumer.dead == {
            "no JSON": 2,
            "no Avro file": 1,
            "column 'user' is string, wanted int64": 1,
        }
        assert consumer.position.next[0] == 6
    assert [(row["user"], row["kind"]) for row in rows] == [
        (7, "tap"),
        (8, "hold"),
        (None, "none"),
        (9, "none"),
    ]
    with log.consumer(f"{topic}.dead") as consumer:
        letters = [letter for events in consumer.drain() for letter in read_letters(events.rows)]
    assert [(letter.offset, letter.raw) for letter in letters] == [
        (1, b"rubbish"),
        (2, None),
        (3, b"?"),
        (4, b""),
    ]
    assert letters[1].rows.to_pylist() == [{"user": "nobody", "kind": None}]


def test_a_message_of_any_shape_stops_no_consumer(log, topic, mock):
    deep = "[" * 100 + "1" + "]" * 100
    wide = json.dumps([{f"k{at}": 1} for at in range(6000)])
    for raw in (f'{{"user": "x", "deep": {deep}}}', wide, '{"user": 7}'):
        mock.put(topic, raw.encode())
    with log.consumer(topic, columns=[Column("user", pa.int64())]) as consumer:
        ((got,),) = [until(lambda: not consumer.lag, consumer)[0]]
        assert got.rows.to_pylist() == [{"user": 7}]
        assert sum(consumer.dead.values()) == 2


def test_many_threads_may_append(log, topic):
    threads = [
        threading.Thread(
            target=lambda maker=maker: [
                log.append(topic, numbered(maker, n, 2), partition=maker) for n in range(20)
            ]
        )
        for maker in range(PARTITIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with log.consumer(topic) as consumer:
        found = list(consumer.drain())
    for maker in range(PARTITIONS):
        mine = [events.rows for events in found if events.partition == maker]
        assert appends(mine) == [(maker, n) for n in range(20)]


def test_an_append_that_is_too_large_is_refused_and_later_ones_are_not(log, topic):
    noise = pa.record_batch({"x": np.random.default_rng(0).integers(0, 2**62, 200_000)})
    for call in (log.append, log.send):
        with pytest.raises(
            ConfigError, match=r"append of 1,6\d\d,\d\d\d bytes .* is refused: .*; append fewer rows"
        ):
            call(topic, noise)
    assert log.append(topic, noise.slice(0, 1000)) == 0


def test_brokers_that_are_gone_fail_what_was_appended(topic, mock):
    gone = Mock()
    gone.make(topic)
    options = QUIET | {"message.timeout.ms": 300, "socket.timeout.ms": 300}
    log = KafkaLog(gone.servers, options=options)
    log.append(topic, numbered(1, 0, 1))
    del gone
    with pytest.raises(StorageError, match=f"partition 0 of topic '{topic}' cannot be written"):
        log.append(topic, numbered(1, 1, 1))
    log.send(topic, numbered(1, 2, 1))
    with pytest.raises(StorageError, match=f"partition 0 of topic '{topic}' cannot be written"):
        log.flush()
    log.flush()
    log.close()


@pytest.mark.parametrize("skip", [False, True])
def test_an_offset_that_is_gone_is_told_or_passed(log, topic, skip):
    """The mock removes nothing; it answers for an offset beyond its end as for one that retention took."""
    log.append(topic, numbered(1, 0, 1))
    with log.consumer(topic, partitions=[0], skip_lost=skip) as consumer:
        consumer._source.seek({0: 500})
        if not skip:
            for _ in range(2):
                with pytest.raises(
                    StorageError, match=f"of partition 0 of topic '{topic}' are gone, as its retention"
                ):
                    consumer.poll(10)
            consumer.seek(Offsets(log=log.id, topic=topic, next={0: 0}))
            assert appends([events.rows for events in consumer.poll(10)]) == [(1, 0)]
        else:
            consumer.poll(1)
            log.append(topic, numbered(1, 1, 1))
            assert appends([events.rows for events in consumer.poll(10)]) == [(1, 1)]


class Admin:
    """Stands for Kafka's admin client, which the mock does not answer; notes what is asked."""

    asked: ClassVar[list] = []

    def __init__(self, options):
        self.options = options

    def create_topics(self, topics):
        self.asked += topics
        return {}

    def incremental_alter_configs(self, resources):
        self.asked += resources
        return {}


def test_what_is_asked_of_the_brokers_to_make_and_to_change_a_topic(log, topic, monkeypatch):
    import confluent_kafka.admin

    Admin.asked = []
    monkeypatch.setattr(confluent_kafka.admin, "AdminClient", Admin)
    log.create("new", partitions=3, retention=Retention(age_s=60))
    (made,) = Admin.asked
    assert (made.topic, made.num_partitions, made.replication_factor) == ("new", 3, -1)
    assert made.config == {"retention.ms": "60000", "retention.bytes": "-1"}
    Admin.asked = []
    log.create(topic, partitions=PARTITIONS)
    assert not Admin.asked
    log.create(topic, partitions=PARTITIONS, retention=Retention(size_bytes=10**9))
    (changed,) = Admin.asked
    assert {(entry.name, entry.value) for entry in changed.incremental_configs} == {
        ("retention.ms", "-1"),
        ("retention.bytes", "1000000000"),
    }


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ConfigError, match=r"pip install 'larix\[kafka\]'"):
        KafkaLog("localhost:9092")


def test_a_setting_that_kafka_does_not_know_is_a_mistake():
    with pytest.raises(ConfigError, match=r"does not take these settings: .*no.such.setting"):
        KafkaLog("localhost:9092", options={"no.such.setting": 1})


def test_brokers_that_are_not_there_are_told(monkeypatch):
    from larix.data.log import kafka

    monkeypatch.setattr(kafka, "_PATIENCE_S", 0.5)
    log = KafkaLog("127.0.0.1:1", options=QUIET)
    with pytest.raises(StorageError, match=r"Kafka at 127\.0\.0\.1:1: "):
        log.topics()
    log.close()
