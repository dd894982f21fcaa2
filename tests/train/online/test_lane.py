import pytest

from larix.train.online.lane import Lane


class Slow:
    """A consumer whose brokers take their time: there is more, and it does not come."""

    def __init__(self, lag):
        self.lag, self.asked = lag, 0

    def __getattribute__(self, name):
        if name == "lag":
            self.asked += 1
        return super().__getattribute__(name)

    def poll(self, timeout_s, max_rows):
        return []


@pytest.fixture
def now(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("larix.train.online.lane.monotonic", lambda: now[0])
    return now


def test_a_partition_of_which_there_is_more_is_not_silent_however_long_that_takes(now):
    consumer = Slow(lag=3)
    lane = Lane(consumer, 0, "ready_ms", 100)
    for _ in range(5):
        lane.read(0.0)
        assert not lane.silent(30)
        now[0] += 31
    consumer.lag = 0
    now[0] += 31
    assert lane.silent(30)


def test_whether_there_is_more_is_asked_once_in_the_time_that_is_waited(now):
    consumer = Slow(lag=3)
    lane = Lane(consumer, 0, "ready_ms", 100)
    for _ in range(1000):
        assert not lane.silent(10)
        now[0] += 0.1
    assert 8 <= consumer.asked <= 10
