import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.data.join.index import Index
from larix.data.join.mapped import held

KEYS = st.integers(-3, 40) | st.sampled_from([-(2**63), 2**63 - 1]) | st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None)
@given(st.lists(st.lists(KEYS, max_size=60), max_size=8), st.lists(KEYS, max_size=60), st.booleans())
def test_every_key_gives_its_entries_the_newest_first(calls, asked, spill):
    index, expected = Index(), {}
    for keys in calls:
        first = index.count
        index.add(np.array(keys, np.int64))
        for entry, key in enumerate(keys, first):
            expected.setdefault(key, []).insert(0, entry)
        if spill:
            index.spill(".")
    found = [[] for _ in asked]
    for places, entries in index.pairs(np.array(asked, np.int64)):
        for place, entry in zip(places.tolist(), entries.tolist(), strict=True):
            found[place].append(entry)
    assert found == [expected.get(key, []) for key in asked]
    assert index.find(np.array(asked, np.int64)).tolist() == [expected.get(key, [-1])[0] for key in asked]


@pytest.mark.parametrize("keys", [np.arange(200_000), np.arange(200_000) << 40, np.zeros(200_000, np.int64)])
def test_no_pattern_of_keys_makes_it_crawl(keys):
    index = Index()
    for some in np.array_split(keys, 10):
        index.add(some)
    newest = {key: entry for entry, key in enumerate(keys.tolist())}
    assert index.find(keys[::7]).tolist() == [newest[key] for key in keys[::7].tolist()]


def test_on_the_disk_it_holds_no_memory_until_it_grows(tmp_path):
    index = Index()
    index.add(np.arange(1000))
    assert index.nbytes > 12_000
    index.spill(tmp_path)
    assert index.nbytes == 0
    assert index.find(np.array([999, 1000])).tolist() == [999, -1]
    index.add(np.arange(1000, 3000))
    assert index.nbytes > 36_000
    assert held(np.zeros(2)) == 16
    assert not [*tmp_path.iterdir()]
