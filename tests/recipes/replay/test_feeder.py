import threading
import time

import pyarrow as pa
import pytest

from larix.data.log import DiskLog
from larix.data.unjoin import Slice
from larix.errors import StorageError
from larix.recipes.replay.feeder import Feeder

MINUTE = 60_000


def batch(ids):
    return pa.record_batch({"event_id": pa.array([str(each) for each in ids], pa.string())})


def slices(count):
    """One impression a minute, two actions every other."""
    for at in range(count):
        actions = (f"{at}-a", f"{at}-b") if at % 2 else ()
        yield Slice(until_ms=(at + 1) * MINUTE, impressions=batch([at]), actions=batch(actions))


def read(log, topic, column="event_id"):
    with log.consumer(topic) as consumer:
        return [value for events in consumer.drain() for value in events.rows[column].to_pylist()]


@pytest.fixture
def log(tmp_path):
    with DiskLog(tmp_path / "log") as log:
        yield log


def feeder(log, count=10, *, speed=None, ahead=1 << 30, lag=lambda: 0):
    return Feeder(log, slices(count), speed=speed, ahead=ahead, lag=lag)


def test_all_events_are_sent_in_order_with_word_of_when(log):
    ours = feeder(log)
    assert ours.run(threading.Event())
    assert read(log, "impressions") == [str(at) for at in range(10)]
    assert read(log, "actions") == [f"{at}-{which}" for at in range(1, 10, 2) for which in "ab"]
    assert read(log, "sent", "until_ms") == [(at + 1) * MINUTE for at in range(10)]
    assert sum(read(log, "sent", "rows")) == ours.sent == 20
    assert read(log, "sent", "at_ms") == sorted(read(log, "sent", "at_ms"))


@pytest.mark.parametrize("sent", [0, 3, 10])
def test_begun_anew_it_sends_what_is_missing_and_nothing_twice(log, sent):
    feeder(log, sent).run(threading.Event())
    log.send("impressions", batch([sent]))  # the process died between the two sides of a slice
    again = feeder(log, 12)
    assert again.run(threading.Event())
    assert read(log, "impressions") == [str(at) for at in range(12)]
    assert read(log, "actions") == [f"{at}-{which}" for at in range(1, 12, 2) for which in "ab"]
    assert again.sent == 24 - (sent + sent // 2 * 2) - 1
    assert sum(read(log, "sent", "rows")) == 24


def keyed(count):
    """An impression of each of three users a minute, and an action on it; users come and go."""
    for at in range(count):
        rows = {
            "event_id": [f"{at}-{user}" for user in range(3)],
            "user": [f"u{(at + n) % 7}" for n in range(3)],
        }
        rows = pa.record_batch(rows)
        yield Slice(until_ms=(at + 1) * MINUTE, impressions=rows, actions=rows)


def of_partitions(log, topic, count):
    found = []
    for partition in range(count):
        with log.consumer(topic, partitions=[partition]) as consumer:
            found.append([row for events in consumer.drain() for row in events.rows.to_pylist()])
    return found


@pytest.mark.parametrize("died", [0, 1, 8, 30, 129])
def test_in_several_partitions_what_is_keyed_alike_stays_in_order_and_is_sent_once(log, monkeypatch, died):
    def ours():
        return Feeder(log, keyed(20), speed=None, ahead=1 << 30, lag=lambda: 0, partitions=4, keyed="user")

    whole, sends = log.send, iter(range(died))

    def dying(*words, **more):  # between two partitions of a slice, perhaps
        if next(sends, None) is None:
            raise StorageError("killed")
        whole(*words, **more)

    monkeypatch.setattr(log, "send", dying)
    with pytest.raises(StorageError, match="killed"):
        ours().run(threading.Event())
    monkeypatch.setattr(log, "send", whole)
    assert ours().run(threading.Event())
    expected = [row for each in keyed(20) for row in each.impressions.to_pylist()]
    assert sum(read(log, "sent", "rows")) == 2 * len(expected)
    for topic in ("impressions", "actions"):
        parts = of_partitions(log, topic, 4)
        assert sum(map(len, parts)) == len(expected)
        assert sum(len(part) > 0 for part in parts) > 1
        for user in {row["user"] for row in expected}:
            (home,) = [part for part in parts if any(row["user"] == user for row in part)]
            assert [row for row in home if row["user"] == user] == [
                row for row in expected if row["user"] == user
            ]


def test_a_speed_is_kept_between_the_slices(log):
    began = time.monotonic()
    feeder(log, 4, speed=600.0).run(threading.Event())  # a minute in a tenth of a second
    assert 0.3 <= time.monotonic() - began < 2.0


def test_without_a_speed_it_waits_while_too_much_lies_unread(log):
    unread, stop = [100], threading.Event()
    ours = feeder(log, 5, ahead=50, lag=lambda: unread[0])
    thread = threading.Thread(target=ours.run, args=(stop,))
    thread.start()
    time.sleep(0.1)
    assert ours.sent == 0
    unread[0] = 50
    thread.join(10)
    assert ours.sent == 9


@pytest.mark.parametrize("speed", [None, 0.001])
def test_it_stops_when_told_and_says_that_there_was_more(log, speed):
    stop = threading.Event()
    ours = feeder(log, 5, speed=speed, ahead=1, lag=lambda: 2)
    threading.Timer(0.1, stop.set).start()
    assert not ours.run(stop)
    assert ours.sent < 9


def test_a_log_that_cannot_be_written_is_told(log, monkeypatch):
    ours = feeder(log)

    def full(*words, **more):
        raise StorageError("no space")

    monkeypatch.setattr(log, "send", full)
    with pytest.raises(StorageError, match="no space"):
        ours.run(threading.Event())
