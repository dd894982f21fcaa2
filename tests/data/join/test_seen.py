import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.data.join.seen import Seen

EVENTS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9000), st.integers(0, 9000)), min_size=1, max_size=30
)


def columns(events):
    return (np.array(column, np.int64) for column in zip(*events, strict=True))


@settings(deadline=None)
@given(st.lists(EVENTS, max_size=6))
def test_an_event_is_fresh_unless_one_of_its_id_would_not_have_been_late_beside_it(calls):
    seen, latest = Seen(500), {}
    for events in calls:
        expected = []
        for id_, at, bound in events:
            expected.append(latest.get(id_, -1) < bound or id_ not in latest)
            if expected[-1]:
                latest[id_] = max(at, latest.get(id_, at))
        assert seen.admit(*columns(events)).tolist() == expected


def test_what_would_be_late_anyway_is_forgotten_with_its_memory():
    seen = Seen(1000)
    ids = np.arange(10_000)
    seen.remember(ids, ids)
    full = seen.nbytes
    seen.forget(9000)
    assert 0 < seen.nbytes < full / 4
    assert not seen.admit(ids[9000:], ids[9000:], ids[9000:]).any()


def test_what_is_on_the_disk_is_still_known(tmp_path):
    seen = Seen(1000)
    ids = np.arange(5000)
    seen.remember(ids, ids)
    while seen.spill(tmp_path):
        pass
    assert seen.nbytes == 0
    assert not seen.admit(ids, ids, ids).any()
