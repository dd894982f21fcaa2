import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.errors import ConfigError
from larix.serve.sessions.wheel import Wheel


class SortedList:
    """The oracle: keys with their ticks, sorted when asked."""

    def __init__(self):
        self.ticks, self.now = {}, 0

    def put(self, key, tick):
        self.ticks[key] = max(tick, self.now)

    def cancel(self, key):
        return self.ticks.pop(key, None) is not None

    def advance(self, tick):
        self.now = max(self.now, tick)
        found = sorted((at, key) for key, at in self.ticks.items() if at <= self.now)
        for _, key in found:
            del self.ticks[key]
        return found


# Near and far, and around the borders of levels, where a wheel goes wrong.
SPANS = st.one_of(
    st.integers(-3, 70),
    st.integers(0, 1 << 20),
    st.builds(lambda level, off: (1 << (6 * level)) + off, st.integers(0, 6), st.integers(-2, 2)),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 20), SPANS),
        st.tuples(st.just("cancel"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("advance"), st.just(0), SPANS),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_it_is_a_sorted_list_of_times(steps):
    wheel, oracle = Wheel(tick_s=1.0, now_s=1000.0), SortedList()
    for verb, key, span in steps:
        at = oracle.now + span
        if verb == "put":
            wheel.put(key, 1000.0 + at)
            oracle.put(key, at)
        elif verb == "cancel":
            assert wheel.cancel(key) == oracle.cancel(key)
        else:
            when = dict(oracle.ticks)
            found, expected = wheel.advance(1000.0 + at), oracle.advance(at)
            assert sorted(found) == sorted(key for _, key in expected)
            assert [when[key] for key in found] == [tick for tick, _ in expected]
        assert len(wheel) == len(oracle.ticks)
        assert all(key in wheel for key in oracle.ticks)
        upcoming = wheel.next_s()
        assert (upcoming is None) == (not oracle.ticks)
        if upcoming is not None:
            assert upcoming <= 1000.0 + min(oracle.ticks.values())
    assert sorted(wheel.advance(math.inf)) == sorted(oracle.ticks)
    assert wheel.next_s() is None


@given(st.floats(0.001, 10), st.floats(0, 1e6), st.lists(st.floats(0, 1e5), max_size=20))
def test_nothing_is_due_early_nor_a_tick_late(tick_s, now_s, spans):
    wheel = Wheel(tick_s=tick_s, now_s=now_s)
    for key, span in enumerate(spans):
        wheel.put(key, now_s + span)
    slack = 1e-6 * max(1.0, now_s)  # of floats
    while (upcoming := wheel.next_s()) is not None:
        for key in wheel.advance(upcoming):
            assert now_s + spans[key] - slack <= upcoming < now_s + spans[key] + tick_s + slack


def test_a_clock_that_goes_back_changes_nothing():
    wheel = Wheel(tick_s=1.0, now_s=0.0)
    assert wheel.advance(50.0) == []
    wheel.put("a", 60.0)
    assert wheel.advance(10.0) == []
    assert wheel.advance(-5.0) == []
    assert wheel.advance(59.0) == []
    assert wheel.advance(60.0) == ["a"]


def test_what_is_put_into_the_past_is_due_at_once_and_may_be_cancelled():
    wheel = Wheel(tick_s=1.0, now_s=10.0)
    wheel.put("a", 3.0)
    wheel.put("b", 4.0)
    assert wheel.next_s() == 10.0
    assert wheel.cancel("b")
    assert wheel.advance(10.0) == ["a"]


def test_never_is_further_than_any_time_that_comes():
    wheel = Wheel(tick_s=0.1, now_s=0.0)
    wheel.put("never", math.inf)
    assert wheel.advance(1e9) == []
    assert "never" in wheel


def test_long_idle_times_are_passed_at_once():
    wheel = Wheel(tick_s=1e-6, now_s=0.0)
    wheel.put("a", 1e6)  # 10^12 ticks ahead: walking them would not end
    assert wheel.advance(1e6 - 1) == []
    assert wheel.advance(1e6) == ["a"]


def test_renewals_leave_nothing_behind():
    wheel = Wheel(tick_s=0.1, now_s=0.0)
    for at in range(20_000):
        wheel.put("a", float(at))
    assert len(wheel) == 1
    assert sum(len(slot) for level in wheel._levels for slot in level.slots) == 1


@pytest.mark.parametrize("tick_s", [0.0, -1.0, math.nan])
def test_a_tick_must_last(tick_s):
    with pytest.raises(ConfigError, match="above 0"):
        Wheel(tick_s=tick_s, now_s=0.0)


def test_no_time_is_no_time():
    with pytest.raises(ConfigError, match="nan"):
        Wheel(tick_s=1.0, now_s=0.0).put("a", math.nan)
