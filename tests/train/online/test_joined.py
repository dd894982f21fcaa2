import json
from dataclasses import replace
from time import monotonic

import numpy as np
import onlining
import pyarrow as pa
import pytest
from online_states import follower_of, same_rows, state_of
from online_strange import appends_of, fast, strange

from larix.data.join import Action, Clicked, Downsample, Impressions, Joiner, JoinSpec
from larix.data.log import Column, DiskLog, KafkaLog, read_letters
from larix.errors import ConfigError, StorageError
from larix.train.online import JoinedSamples

PARTITIONS = {"impressions": 2, "actions": 1}


def spec(**given):
    return JoinSpec(
        impressions=Impressions("impressions", key="impression_id", time="time_ms", event_id="event_id"),
        actions=(Action("click", topic="actions", key="impression_id", time="time_ms", event_id="event_id"),),
        labels={"is_click": Clicked("click")},
        **{"window_s": 10, "lateness_s": 5, "ahead_s": None, **given},
    )


@pytest.fixture
def log(tmp_path):
    """Impressions and clicks on a third of them, mixed and a little out of order, in many appends."""
    rng = np.random.default_rng(1)
    log = DiskLog(tmp_path / "log")
    for topic, partitions in PARTITIONS.items():
        log.create(topic, partitions=partitions)
    for begin in range(0, 3000, 100):
        ids = np.arange(begin, begin + 100)
        times = 1_000_000 + ids * 50 + rng.integers(0, 3000, 100)
        names = pa.array([f"i{each}" for each in ids])
        rows = pa.record_batch(
            {"impression_id": ids, "time_ms": times, "event_id": names, "user_id": ids % 17}
        )
        log.append("impressions", rows, partition=int(begin // 100 % 2))
        clicked = ids[rng.random(100) < 0.3]
        names = pa.array([f"c{each}" for each in clicked])
        rows = pa.record_batch(
            {"impression_id": clicked, "time_ms": times[clicked - begin] + 2000, "event_id": names}
        )
        log.append("actions", rows)
    yield log
    log.close()


def all_of(samples):
    parts = []
    while len(part := samples.poll(0.0)) or samples.lag:
        parts.append(part)
    return [part for part in [*parts, samples.finish(), samples.finish()] if len(part)]


def test_they_are_what_the_joiner_makes_of_the_log(log):
    samples = JoinedSamples(log, spec())
    found = pa.concat_tables(all_of(samples))
    joiner = Joiner(spec(), partitions=PARTITIONS)
    events = [each for topic in PARTITIONS for each in log.consumer(topic).drain()]
    expected = pa.concat_tables([joiner.push(events), joiner.finish()])
    assert found.equals(expected)
    assert found.num_rows == 3000
    assert 700 < sum(found["is_click"].to_pylist()) < 1100
    assert samples.lag == 0
    assert samples.stats == joiner.stats
    samples.close()
    joiner.close()


@pytest.mark.parametrize("polls", [1, 3, 7])
def test_they_go_on_where_they_were_saved(log, tmp_path, polls):
    samples = JoinedSamples(log, spec(), max_rows=150)
    before = [part for _ in range(polls) if len(part := samples.poll(0.0))]
    (tmp_path / "saved").mkdir()
    said = json.loads(json.dumps(samples.save(tmp_path / "saved")))
    whole = pa.concat_tables(before + all_of(samples))
    samples.close()
    other = JoinedSamples(log, spec())
    other.poll(0.0)  # whatever it had taken is forgotten
    other.restore(said, tmp_path / "saved")
    assert pa.concat_tables(before + all_of(other)).equals(whole)
    other.close()


@pytest.fixture(params=["disk", "kafka"])
def keyed(request, log, tmp_path):
    """The events of ``log`` in another of four partitions, each in that of its user; the last has none."""
    if request.param == "disk":
        other = DiskLog(tmp_path / "keyed")
        for topic in PARTITIONS:
            other.create(topic, partitions=4)
    else:
        from log_kafka import QUIET, Mock

        mock = Mock()
        for topic in PARTITIONS:
            mock.make(topic)
        other = KafkaLog(mock.servers, options=QUIET)
    users = {}
    for topic in PARTITIONS:
        appends = [events.rows for events in log.consumer(topic).drain()]
        for rows in sorted(appends, key=lambda each: each["impression_id"][0].as_py()):
            if topic == "impressions":
                users |= dict(
                    zip(rows["impression_id"].to_pylist(), rows["user_id"].to_pylist(), strict=True)
                )
            home = np.array([users[key] for key in rows["impression_id"].to_pylist()]) % 3
            for partition in range(3):
                other.send(topic, rows.filter(pa.array(home == partition)), partition=partition)
    other.flush()
    with other:
        yield other


def test_keyed_partitions_give_the_same_samples_though_one_is_idle_and_wherever_it_is_taken_up(
    log, keyed, tmp_path
):
    plain = JoinedSamples(log, spec())
    expected = pa.concat_tables(all_of(plain))
    plain.close()
    idle = spec(idle_s=0.001)  # only the partition that has nothing may be taken for idle
    samples = JoinedSamples(keyed, idle, max_rows=400)
    parts, until = [], monotonic() + 60
    while sum(map(len, parts)) < 1500 and monotonic() < until:
        parts.append(samples.poll(0.05))
    assert samples.watermark is not None
    (tmp_path / "saved").mkdir()
    said = json.loads(json.dumps(samples.save(tmp_path / "saved")))
    samples.close()
    again = JoinedSamples(keyed, idle, max_rows=400)
    again.restore(said, tmp_path / "saved")
    parts += all_of(again)
    assert {name: fate.late for name, fate in again.stats.kinds.items()} == {"impression": 0, "click": 0}
    again.close()
    found = pa.concat_tables([part for part in parts if len(part)])
    assert found.select(expected.column_names).equals(expected)


def test_the_rate_of_negatives_is_said_of_every_sample(log):
    samples = JoinedSamples(log, spec(negatives=Downsample(label="is_click", rate=0.25)))
    found = pa.concat_tables(all_of(samples))
    assert found.num_rows < 2000
    assert set(found["sample_rate"].to_pylist()) == {0.25}
    assert found.schema.field("sample_rate").type == pa.float32()
    samples.close()


@pytest.mark.parametrize("topic", ["impressions", "actions"])
def test_what_was_read_beside_damage_is_joined_later(log, tmp_path, topic):
    """Damage in one topic is met when events of the other are out of the log already."""
    segment = next((tmp_path / "log" / "topics" / topic).rglob("*.segment"))
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 2] ^= 1
    segment.write_bytes(raw)
    whole = JoinedSamples(log, spec(), max_rows=100, skip_lost=True)
    expected = pa.concat_tables(all_of(whole))
    assert 0 < whole.lost < 500
    whole.close()
    samples, parts = JoinedSamples(log, spec(), max_rows=100), []
    with pytest.raises(StorageError, match=f"'{segment}' is damaged"):
        parts.extend(iter(lambda: samples.poll(0.0), None))
    (tmp_path / "saved").mkdir()
    said = json.loads(json.dumps(samples.save(tmp_path / "saved")))
    samples.close()
    again = JoinedSamples(log, spec(), max_rows=100, skip_lost=True)
    again.restore(said, tmp_path / "saved")
    parts += all_of(again)
    assert again.stats == whole.stats
    again.close()
    assert pa.concat_tables([part for part in parts if len(part)]).equals(expected)


def test_events_that_the_join_has_no_room_for_are_joined_once_it_has(log, monkeypatch):
    plain, samples, refused = JoinedSamples(log, spec()), JoinedSamples(log, spec()), []
    expected = pa.concat_tables(all_of(plain))
    push = Joiner.push

    def full(joiner, events, **more):
        if len(refused) < 3:
            refused.append(events)
            raise StorageError("no space")
        return push(joiner, events, **more)

    monkeypatch.setattr(Joiner, "push", full)
    for _ in range(3):
        with pytest.raises(StorageError, match="no space"):
            samples.poll(0.0)
    assert pa.concat_tables(all_of(samples)).equals(expected)
    assert samples.stats == plain.stats
    for each in (plain, samples):
        each.close()


def test_events_that_are_not_of_the_columns_told_become_dead_letters_and_ids_keep_their_bits(tmp_path):
    columns = [Column(name, pa.int64()) for name in ("impression_id", "time_ms", "user_id")]
    told = {"impressions": [*columns, Column("event_id", pa.string())]}
    whole = 2**60 + 1
    with DiskLog(tmp_path / "log") as log:
        for topic in PARTITIONS:
            log.create(topic)
        for number, user in enumerate([whole, 7.5, 8.0, "x", whole]):
            row = {
                "impression_id": number,
                "time_ms": 1_000_000 + number,
                "event_id": f"i{number}",
                "user_id": user,
            }
            log.append("impressions", pa.RecordBatch.from_pylist([row]))
        samples = JoinedSamples(log, spec(), columns=told)
        assert pa.concat_tables(all_of(samples))["user_id"].to_pylist() == [whole, 8, whole]
        assert samples.dead == {
            f"column 'user_id' is {kind}, wanted int64": 1 for kind in ("double", "string")
        }
        samples.close()
        plain = JoinedSamples(log, spec())
        found = pa.concat_tables(all_of(plain))["user_id"]
        assert found.to_pylist() == [float(whole), 7.5, 8.0, None, float(whole)], (
            "one fraction makes fractions of all"
        )
        plain.close()
        with log.consumer("impressions.dead") as consumer:
            letters = [one for events in consumer.drain() for one in read_letters(events.rows)]
        assert [one.rows["user_id"].to_pylist() for one in letters] == [[7.5], ["x"]]


def test_a_log_without_the_topics_is_told(log):
    other = JoinSpec(
        impressions=Impressions("shown", key="k", time="t", event_id="e"),
        actions=(Action("click", topic="actions", key="k", time="t", event_id="e"),),
        labels={"is_click": Clicked("click")},
    )
    with pytest.raises(ConfigError, match=r"reads topics \['shown'\], which the log has not"):
        JoinedSamples(log, other)


def test_strange_events_are_counted_and_leave_no_trace_in_what_is_learned(start, samples, tmp_path):
    strict = replace(onlining.spec(), ahead_s=60)
    with onlining.events_of(tmp_path / "plain", samples) as plain, DiskLog(tmp_path / "odd") as odd:
        odd.create("impressions", partitions=2)
        odd.create("actions")
        for number, (topic, partition, rows) in enumerate(appends_of(plain)):
            odd.append(topic, rows, partition=partition)
            if number % 5 == 2:
                for each in strange(rows, number):
                    odd.append(topic, each, partition=partition)
        found = {}
        for name, log in (("plain", plain), ("odd", odd)):
            joined = JoinedSamples(log, strict, max_rows=256)
            outcome = onlining.run(start, log, tmp_path / f"run of {name}", samples=joined)
            assert outcome.samples == 3000
            assert outcome.skipped == 0
            found[name] = state_of(tmp_path / f"run of {name}")
            fates = joined.stats.kinds
    assert found["odd"][3] == found["plain"][3], "weights, moments and metrics"
    assert found["odd"][-1] == found["plain"][-1], "rows"
    for fate in (fates["impression"], fates["watch"]):
        assert min(fate.null, fate.future, fate.late, fate.duplicate) > 30


def test_over_kafka_the_loop_is_the_same_after_a_crash_too_and_so_are_its_followers(start, samples, tmp_path):
    """Events and deltas on the wire; what is learned is, to the bit, what it is from a log on disk."""
    from log_kafka import PARTITIONS, QUIET, Mock

    mock = Mock()
    for topic in ("impressions", "actions", "deltas"):
        mock.make(topic)
    disk, kafka = DiskLog(tmp_path / "disk"), KafkaLog(mock.servers, options=QUIET)
    for topic in ("impressions", "actions"):
        disk.create(topic, partitions=PARTITIONS)
    with onlining.events_of(tmp_path / "plain", samples) as plain:
        for number, (topic, _, rows) in enumerate(appends_of(plain)):
            for each in (disk, kafka):
                each.append(topic, rows, partition=number // 2 % PARTITIONS)
    onlining.run(start, disk, tmp_path / "run on disk")
    seldom = {"save_every_s": 1e9}
    onlining.crash(start, kafka, tmp_path / "run", at=20, **seldom)
    follower = drained(follower_of(kafka, tmp_path / "run"))
    assert follower.stand.sequence > 10
    onlining.run(start, kafka, tmp_path / "run", **seldom)
    found, expected = state_of(tmp_path / "run"), state_of(tmp_path / "run on disk")
    assert found[:2] == expected[:2] == (expected[0], 3000)
    assert found[3] == expected[3], "weights, moments and metrics"
    assert found[-1] == expected[-1], "rows"
    for each in (follower, follower_of(kafka, tmp_path / "run")):
        assert same_rows(drained(each).replica, tmp_path / "run")
    for each in (disk, kafka):
        each.close()


def drained(follower):
    while follower.poll(0.5):
        pass
    return follower


@pytest.mark.parametrize("source", ["samples", "events"])
def test_of_input_that_comes_faster_than_it_is_trained_on_the_lag_grows_and_memory_does_not(
    start, tmp_path, source
):
    told, memory = fast(start, tmp_path, source)
    lags = np.array([each.lag for each in told])
    assert len(told) == 100
    assert lags[-1] > lags[50] + 5000 > lags[10] + 10_000, "four batches come for each"
    assert max(each.pending for each in told) <= 1024
    assert memory[50:].max() < memory[:50].max() + (1 << 20)
