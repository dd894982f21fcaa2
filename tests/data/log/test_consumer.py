import numpy as np
import pyarrow as pa
import pytest

from larix.data.log import letters
from larix.data.log.columns import Column
from larix.data.log.consumer import Consumer
from larix.data.log.events import Events, Unreadable
from larix.data.log.offsets import Offsets
from larix.errors import ConfigError, StorageError


class Given:
    """A source of one partition that hands out ``items``, one a poll."""

    lost = 0

    def __init__(self, items):
        self.items, self.at, self.kept, self.closed = items, 0, [], False

    def poll(self, timeout_s, max_rows):
        self.at += 1
        return self.items[self.at - 1 : self.at]

    def next(self):
        return {0: self.at}

    def ends(self):
        return {0: len(self.items)}

    def lags(self):
        return {0: len(self.items) - self.at}

    def behind(self):
        return [0] if self.at < len(self.items) else []

    def seek(self, offsets):
        self.at = offsets[0]

    def assure(self):
        return Offsets(log="log", topic="t", next=self.next())

    def commit(self, offsets):
        self.kept.append(offsets)

    def close(self):
        self.closed = True


def events(offset, **columns):
    return Events(topic="t", partition=0, offset=offset, time_ms=9, rows=pa.record_batch(columns))


WANTED = [Column("n", pa.int64())]


def test_events_come_in_the_columns_asked_for_and_the_rest_is_buried():
    buried = []
    source = Given([events(0, n=["1", "x", "3", "y"], more=[1, 2, 3, 4])])
    consumer = Consumer(source, WANTED, buried.append)
    (got,) = consumer.poll()
    assert got.rows.to_pydict() == {"n": [1, 3]}
    assert (got.topic, got.offset, got.time_ms) == ("t", 0, 9)
    (letter,) = letters.read(buried[0])
    assert letter.rows.to_pydict() == {"n": ["x", "y"], "more": [2, 4]}
    assert consumer.dead == {"column 'n' is string, wanted int64": 2}


def test_without_columns_events_come_as_they_are():
    source = Given([events(0, n=["x"])])
    (got,) = Consumer(source, None, lambda _: pytest.fail("buried")).poll()
    assert got is source.items[0]


def test_a_message_that_is_no_rows_is_buried_and_passed():
    buried = []
    bad = Unreadable(topic="t", partition=0, offset=0, time_ms=9, raw=b"??", reason="no JSON")
    consumer = Consumer(Given([bad, events(1, n=[5])]), WANTED, buried.append)
    assert [got.offset for got in consumer.poll(1)] == [1]
    assert [letter.raw for letter in letters.read(buried[0])] == [b"??"]
    assert consumer.dead == {"no JSON": 1}


def test_a_poll_goes_on_when_all_that_came_was_dead():
    buried = []
    source = Given([events(0, n=["x"]), events(1, other=[1]), events(2, n=[3])])
    consumer = Consumer(source, WANTED, buried.append)
    assert [got.offset for got in consumer.poll(5)] == [2]
    assert len(buried) == 2
    assert consumer.dead.total() == 2


def test_what_cannot_be_buried_is_not_passed():
    """A full disk: the position stays before the event, which comes again."""
    full = True
    buried = []

    def bury(batch):
        if full:
            raise StorageError("no space")
        buried.append(batch)

    source = Given([events(0, n=["1", "x"])])
    consumer = Consumer(source, WANTED, bury)
    for _ in range(2):
        with pytest.raises(StorageError, match="no space"):
            consumer.poll()
        assert consumer.position.next == {0: 0}
    assert not consumer.dead
    full = False
    assert [got.rows["n"].to_pylist() for got in consumer.poll()] == [[1]]
    assert len(buried) == 1


def test_a_drain_ends_at_the_end_that_was_there():
    source = Given([events(n, n=[n]) for n in range(5)])
    consumer = Consumer(source, WANTED, lambda _: None)
    seen = []
    for got in consumer.drain():
        seen.append(got.offset)
        if len(source.items) < 100:
            source.items.append(events(len(source.items), n=[0]))
    assert seen == [0, 1, 2, 3, 4]
    assert consumer.lag == 5


def test_a_consumer_seeks_where_it_stood_and_nowhere_else():
    source = Given([events(n, n=[n]) for n in range(3)])
    with Consumer(source, WANTED, lambda _: None) as consumer:
        consumer.poll()
        here = consumer.position
        consumer.poll()
        consumer.seek(Offsets.from_json(here.to_json()))
        assert [got.offset for got in consumer.poll()] == [1]
        consumer.commit()
        consumer.commit(here)
        assert source.kept == [Offsets(log="log", topic="t", next={0: 2}), here]
        with pytest.raises(ConfigError, match="of topic 'u'"):
            consumer.seek(Offsets(log="log", topic="u", next={0: 0}))
        assert not source.closed
    assert source.closed


def test_a_burst_with_a_poisonous_row_in_each_append_loses_nothing():
    rows = 50
    items = [
        events(
            n, n=pa.array([str(k) if k != n % rows else "poison" for k in range(rows)]), at=np.arange(rows)
        )
        for n in range(200)
    ]
    buried = []
    consumer = Consumer(Given(items), [*WANTED, Column("at", pa.int32())], buried.append)
    got = [row for each in consumer.drain() for row in each.rows["at"].to_pylist()]
    assert len(got) == 200 * (rows - 1)
    assert consumer.dead.total() == sum(len(batch) for batch in buried) == 200
