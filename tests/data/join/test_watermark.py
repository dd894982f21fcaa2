import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from join_events import spec_of

from larix.data.join.watermark import Watermark

APPENDS = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.integers(-1, 5000), min_size=1, max_size=5)), max_size=20
)


@given(APPENDS, st.integers(1, 5))
def test_bounds_are_those_of_events_one_by_one_however_they_are_pushed(appends, each):
    spec = spec_of(lateness_s=0.5)
    watermark, newest = Watermark(spec, {"shows": 3}), {}
    for first in range(0, len(appends), each):
        some = appends[first : first + each]
        expected = []
        for partition, times in some:
            for at in times:
                expected.append(newest.get(partition, -1) - 500)
                newest[partition] = max(at, newest.get(partition, -1))
        times = np.array([at for _, times in some for at in times])
        got = watermark.bounds("shows", [(partition, len(times)) for partition, times in some], times)
        assert np.maximum(got, -501).tolist() == expected
        before = watermark.value
        watermark.advance()
        if len([at for at in newest.values() if at >= 0]) < 3:
            assert watermark.value is None
        else:
            assert watermark.value == min(newest.values()) - 500
            assert before is None or before <= watermark.value


def test_clocks_that_jump_never_turn_it_back():
    watermark = Watermark(spec_of(), {"shows": 1})
    for at in (10_000, 3, 90_000_000, 20_000):
        watermark.bounds("shows", [(0, 1)], np.array([at]))
        watermark.advance()
    assert watermark.value == 90_000_000 - 200


def test_it_goes_on_from_its_json():
    watermark = Watermark(spec_of(), {"shows": 1, "acts": 2})
    watermark.bounds("acts", [(1, 1)], np.array([7000]))
    watermark.advance()
    other = Watermark(spec_of(), {"shows": 1, "acts": 2})
    other.restore(watermark.to_json())
    for each in (watermark, other):
        assert each.bounds("acts", [(1, 1)], np.array([1])).tolist() == [6800]
        each.bounds("acts", [(0, 1)], np.array([8000]))
        each.bounds("shows", [(0, 1)], np.array([6000]))
        each.advance()
        assert each.value == 5800
