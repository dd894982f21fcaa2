"""What every event log does, in a folder and in Kafka alike."""

import itertools
import json
import re
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from log_events import appends, numbered
from log_kafka import PARTITIONS, QUIET, Mock

from larix.data.log import Column, DiskLog, KafkaLog, Offsets, read_letters
from larix.errors import ConfigError

_counter = itertools.count()


@pytest.fixture(scope="module")
def mock():
    return Mock()


@pytest.fixture(params=["disk", "kafka", "kafka json", "kafka avro"])
def log(request, tmp_path):
    if request.param == "disk":
        opened = DiskLog(tmp_path / "log")
    else:
        payload = request.param.removeprefix("kafka").strip() or "arrow"
        opened = KafkaLog(request.getfixturevalue("mock").servers, payload=payload, options=QUIET)
    with opened:
        yield opened


@pytest.fixture
def topic(log, request):
    """A topic of four partitions, and one for its dead letters; nothing in them."""
    name = f"clicks-{next(_counter)}"
    for each in (name, f"{name}.dead"):
        if isinstance(log, KafkaLog):
            request.getfixturevalue("mock").make(each)
        else:
            log.create(each, partitions=PARTITIONS)
    return name


def drained(log, topic, **options):
    with log.consumer(topic, **options) as consumer:
        return [events.rows for events in consumer.drain()]


def polled(consumer, rows, **options):
    """What comes until there are so many rows."""
    found, until = [], time.monotonic() + 30
    while sum(len(events.rows) for events in found) < rows and time.monotonic() < until:
        found += consumer.poll(0.2, **options)
    return found


def test_appends_come_back_whole_and_in_order(log, topic):
    offsets = [log.append(topic, numbered(1, n, 3 + n), partition=2) for n in range(20)]
    assert offsets == sorted(set(offsets))
    assert offsets[0] == 0
    for n in range(20):
        log.send(topic, numbered(2, n, 4), partition=n % PARTITIONS)
    log.flush()
    with log.consumer(topic) as consumer:
        found = list(consumer.drain())
    for partition in range(PARTITIONS):
        here = appends([events.rows for events in found if events.partition == partition])
        assert here == [(1, n) for n in range(20) if partition == 2] + [
            (2, n) for n in range(partition, 20, PARTITIONS)
        ]
    assert [events.offset for events in found if events.partition == 2][:20] == offsets
    now = time.time() * 1000
    assert all(events.topic == topic and now - 60_000 < events.time_ms <= now for events in found)


# Strange events pass through unharmed.

ODD = {
    "duplicated": [3, 3, 3, 4],
    "reordered": [9, 2, 7, 1],
    "late": [100, 101, 1, 102],
    "future": [1, 2**62, 3, 2**63 - 1],
    "null": [None, 1, None, None],
    "extreme": [-(2**63), 2**63 - 1, 0, -1],
}


@pytest.mark.parametrize("oddity", ODD)
def test_odd_keys_and_times_come_out_as_they_went_in(log, topic, oddity):
    values = pa.array(ODD[oddity], pa.int64())
    events = pa.record_batch({"event_id": values, "user_id": values, "time_ms": values})
    for _ in range(2):
        log.append(topic, events)
    wanted = [Column(name, pa.int64()) for name in events.schema.names]
    rows = drained(log, topic, columns=wanted)
    assert [each.to_pydict() for each in rows] == [events.to_pydict()] * 2
    assert drained(log, f"{topic}.dead") == []


def test_an_idle_topic_and_a_burst_after_it(log, topic):
    with log.consumer(topic) as consumer:
        assert consumer.poll(0.05) == []
        assert drained(log, topic) == []
        assert consumer.lag == 0
        assert set(consumer.position.next.values()) == {0}
        for n in range(1000):
            log.send(topic, numbered(1, n, 5), partition=n % PARTITIONS)
        log.flush()
        assert consumer.lag == (1000 if isinstance(log, KafkaLog) else 5000)
        assert consumer.lag == sum(consumer.lags.values())
        assert sorted(consumer.behind) == list(range(PARTITIONS))
        polls, seen = 0, {partition: [] for partition in range(PARTITIONS)}
        while consumer.lag:
            got = consumer.poll(1, max_rows=500)
            polls += 1
            assert sum(len(events.rows) for events in got) < 505  # memory stays bounded however much there is
            for events in got:
                seen[events.partition].append(events.rows)
        assert polls >= 10
        assert consumer.behind == []
        for partition in range(PARTITIONS):
            assert appends(seen[partition]) == [(1, n) for n in range(partition, 1000, PARTITIONS)]


# Schemas change.


def test_producers_of_several_versions_never_stop_a_consumer(log, topic):
    old = pa.record_batch({"user": [1, 2], "kind": pa.array(["click", "like"]).dictionary_encode()})
    new = pa.record_batch(
        {"device": ["tv"], "kind": ["superlike"], "user": pa.array([3], pa.int32()), "score": [0.5]}
    )
    broken = pa.record_batch({"user": ["4", "nobody"], "kind": ["click", "click"]})
    lacking = pa.record_batch({"kind": ["click"]})
    for events in (old, new, broken, lacking, old):
        log.append(topic, events)
    columns = [
        Column("user", pa.int64()),
        Column("kind", pa.string()),
        Column("score", pa.float32(), default=-1.0),
    ]
    with log.consumer(topic, columns=columns) as consumer:
        rows = [row for events in consumer.drain() for row in events.rows.to_pylist()]
        assert consumer.dead == {"column 'user' is string, wanted int64": 1, "no column 'user'": 1}
    assert [(row["user"], row["kind"], row["score"]) for row in rows] == [
        (1, "click", -1),
        (2, "like", -1),
        (3, "superlike", 0.5),
        (4, "click", -1),
        (1, "click", -1),
        (2, "like", -1),
    ]
    found = [letter for rows in drained(log, f"{topic}.dead") for letter in read_letters(rows)]
    assert [(letter.topic, letter.rows.to_pylist()) for letter in found] == [
        (topic, [{"user": "nobody", "kind": "click"}]),
        (topic, [{"kind": "click"}]),
    ]


@pytest.mark.parametrize("log", ["disk", "kafka"], indirect=True)  # JSON has fewer types: see test_payload.py
def test_a_row_of_any_arrow_type_survives(log, topic):
    events = pa.record_batch(
        {
            "id": pa.array([1, None, 2**64 - 1], pa.uint64()),
            "when": pa.array([1, 2, None], pa.timestamp("us", "UTC")),
            "history": pa.array([[1, 2], [], None], pa.list_(pa.int64())),
            "vector": pa.array([[1, 2], [3, 4], None], pa.list_(pa.float32(), 2)),
            "seen": pa.array([{"a": 1}, None, {"a": None}]),
            "raw": pa.array([b"\x00", None, b""]),
            "half": pa.array(np.array([1, 2, 3], dtype=np.float16)),
            "flag": [True, None, False],
            "nothing": pa.nulls(3),
        }
    )
    log.append(topic, events.slice(1, 2))
    log.append(topic, events)
    assert drained(log, topic) == [events.slice(1, 2), events]


# Positions.


def test_a_position_taken_anywhere_is_gone_on_from(log, topic):
    for n in range(12):
        log.append(topic, numbered(1, n, 10), partition=n % PARTITIONS)
    with log.consumer(topic) as consumer:
        seen, kept = [], []
        while consumer.lag:
            kept.append((len(seen), json.dumps(consumer.position.to_json())))
            seen += consumer.poll(1, max_rows=1)
        assert len(seen) == 12
        for before, text in kept[::4]:
            position = Offsets.from_json(json.loads(text))
            consumer.seek(position)
            rest = polled(consumer, 10 * (12 - before))
            assert sorted(rows.offset * 10 + rows.partition for rows in rest) == sorted(
                rows.offset * 10 + rows.partition for rows in seen[before:]
            )
    assert len(drained(log, topic, start=Offsets.from_json(json.loads(kept[7][1])))) == 5


def test_a_group_goes_on_where_it_committed(log, topic):
    options = {"group": f"{topic}-join", "partitions": range(PARTITIONS)}
    for n in range(8):
        log.append(topic, numbered(1, n, 10), partition=n % PARTITIONS)
    with log.consumer(topic, **options) as consumer:
        first = polled(consumer, 30, max_rows=10)
        consumer.commit()
        polled(consumer, 80 - sum(len(events.rows) for events in first))
    with log.consumer(topic, **options) as again:
        rest = polled(again, 80 - sum(len(events.rows) for events in first))
    found = [appends([events.rows])[0] for events in [*first, *rest]]
    assert sorted(found) == [(1, n) for n in range(8)]
    assert sum(map(len, drained(log, topic, group=f"{topic}-other", partitions=range(PARTITIONS)))) == 80


def test_some_partitions_may_be_read_and_the_newest_be_begun_with(log, topic):
    for n in range(8):
        log.append(topic, numbered(1, n, 10), partition=n % PARTITIONS)
    assert appends(drained(log, topic, partitions=[3])) == [(1, 3), (1, 7)]
    with log.consumer(topic, start=log.newest(topic)) as consumer:
        assert consumer.poll(0.1) == []
        log.append(topic, numbered(2, 0, 3), partition=1)
        assert appends([events.rows for events in polled(consumer, 3)]) == [(2, 0)]
    assert drained(log, topic, start=log.at_time(topic, int(time.time() * 1000) + 60_000)) == []
    assert set(log.oldest(topic).next.values()) == {0}


def test_committing_without_a_group_is_a_mistake(log, topic):
    with log.consumer(topic) as consumer, pytest.raises(ConfigError, match="give group="):
        consumer.commit()


def test_a_position_beyond_the_end_or_of_another_log_is_a_mistake(log, topic):
    end = dict.fromkeys(range(PARTITIONS), 1)
    with pytest.raises(ConfigError, match="offset 1 is beyond the end 0 of partition 0"):
        log.consumer(topic, start=Offsets(log=log.id, topic=topic, next=end))
    with pytest.raises(ConfigError, match=f"of log elsewhere, but this log is {log.id}"):
        log.consumer(topic, start=Offsets(log="elsewhere", topic=topic, next=end))
    with (
        log.consumer(topic, partitions=[1]) as consumer,
        pytest.raises(ConfigError, match=r"partition 2 of .* is not read"),
    ):
        consumer.seek(Offsets(log=log.id, topic=topic, next={2: 0}))


# Topics.


def test_a_topic_that_is_there_is_left_as_it_is(log, topic):
    assert log.topics()[topic] == PARTITIONS
    log.create(topic, partitions=PARTITIONS)
    with pytest.raises(ConfigError, match=f"topic '{topic}' has 4 partitions, not 3"):
        log.create(topic, partitions=3)
    with pytest.raises(ConfigError, match="partitions must be"):
        log.create("none", partitions=0)


@pytest.mark.parametrize("call", ["append", "send", "consumer", "oldest", "newest"])
def test_a_topic_that_is_not_there_is_told_and_not_made(log, topic, call):
    more = [numbered(1, 0, 1)] if call in ("append", "send") else []
    with pytest.raises(
        ConfigError, match=rf"no topic 'nobody' in .*, which has .*{topic}.*; create it first"
    ):
        getattr(log, call)("nobody", *more)
    assert "nobody" not in log.topics()


def test_a_partition_that_is_not_there_is_told(log, topic):
    with pytest.raises(ConfigError, match=f"topic '{topic}' has no partition 4; it has 0 to 3"):
        log.append(topic, numbered(1, 0, 1), partition=4)
    with pytest.raises(ConfigError, match="no partition 5"):
        log.consumer(topic, partitions=[0, 5])
    with pytest.raises(ConfigError, match="no partition of topic"):
        log.consumer(topic, partitions=[])


def test_the_page_about_the_log_does_what_it_says(tmp_path, monkeypatch):
    page = Path(__file__).resolve().parents[3] / "docs" / "log.md"
    codes = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile("\n".join(codes), str(page), "exec"), names)
    assert names["rows"] == 6
    assert names["checkpoint"]["next"] == {"0": 3, "1": 3}
    assert names["consumer"].poll() == []
    names["log"].append("taps", names["taps"])
    assert [events.rows for events in names["consumer"].poll()] == [names["taps"]]
    names["consumer"].close()
    names["log"].close()
