import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from larix.data.join import panes

TIMES = st.lists(st.integers(0, 6) | st.integers(0, 2**46), max_size=40)
TEXTS = st.sampled_from(["", "a", "b", "é", "€", "\U0001f600"])


@given(TIMES, st.data())
def test_events_are_ordered_by_time_then_by_what_follows(times, data):
    one, other = (
        data.draw(st.lists(st.integers(-3, 3), min_size=len(times), max_size=len(times))) for _ in "ab"
    )
    texts = data.draw(st.lists(TEXTS, min_size=len(times), max_size=len(times)))
    at, numbers, last = (np.array(each, np.int64) for each in (times, one, other))
    rows = range(len(times))
    got = panes.order(at, numbers, last)
    expected = sorted(rows, key=lambda row: (times[row], one[row], other[row]))
    assert [(times[row], one[row], other[row]) for row in got] == [
        (times[row], one[row], other[row]) for row in expected
    ]
    got = panes.order(at, pa.array(texts, pa.string()), last)
    expected = sorted(rows, key=lambda row: (times[row], texts[row], other[row]))
    assert [(times[row], texts[row], other[row]) for row in got] == [
        (times[row], texts[row], other[row]) for row in expected
    ]
    assert panes.by_time(at).tolist() == sorted(rows, key=times.__getitem__)


@given(TIMES.filter(bool), st.sampled_from([1, 10, 1000]))
def test_panes_hold_all_times_once_and_are_few(times, width):
    at = np.array(times, np.int64)
    held = []
    parts = [*panes.split(at, width)]
    for (wide, number), places in parts:
        some = at if places is None else at[places]
        assert ((some >= wide * number) & (some < wide * (number + 1))).all()
        held += some.tolist()
    assert sorted(held) == sorted(times)
    assert len(parts) <= 64
