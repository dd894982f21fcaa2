import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix.data.history import among, past, repeats
from larix.errors import DataError

small = st.integers(-3, 3)
logs = st.lists(st.tuples(small, small, st.booleans(), st.booleans()), max_size=60)


def columns(log):
    key, time, flag, known = (np.array([row[at] for row in log], dtype=np.int64) for at in range(4))
    return key, time, flag, known.astype(bool)


def oracle(key, time, known, row):
    """The past of one row by its definition: oldest first, equal times in row order."""
    if not known[row]:
        return []
    found = [
        other
        for other in range(len(key))
        if known[other] and key[other] == key[row] and time[other] < time[row]
    ]
    return sorted(found, key=lambda other: (time[other], other))


@given(logs)
def test_the_past_is_what_the_definition_says(log):
    key, time, _, known = columns(log)
    found = past(key, time, known=known)
    for row in range(len(log)):
        assert found.order[found.start[row] : found.stop[row]].tolist() == oracle(key, time, known, row)


@given(logs, st.integers(1, 5))
def test_lists_hold_the_newest_of_the_past_oldest_first(log, newest):
    key, time, _, _ = columns(log)
    rows = np.arange(len(log))[::-2]
    members, offsets = past(key, time).lists(rows, newest)
    everyone = np.ones(len(log), dtype=bool)
    for at, row in enumerate(rows):
        assert members[offsets[at] : offsets[at + 1]].tolist() == oracle(key, time, everyone, row)[-newest:]


@given(logs)
def test_counts_are_those_of_the_past_only(log):
    key, time, flag, known = columns(log)
    found = past(key, time, known=known)
    pasts = [oracle(key, time, known, row) for row in range(len(log))]
    assert found.counts().tolist() == [len(rows) for rows in pasts]
    assert found.counts(flag).tolist() == [sum(flag[other] for other in rows) for rows in pasts]
    assert found.counts().dtype == np.int32


@given(logs)
def test_repeats_are_all_but_the_first_of_equal_rows(log):
    key, time, flag, _ = columns(log)
    seen, expected = set(), []
    for row in zip(key.tolist(), time.tolist(), flag.tolist(), strict=True):
        expected.append(row in seen)
        seen.add(row)
    assert repeats(key, time, flag).tolist() == expected


def test_extreme_keys_and_times_do_not_mix():
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    key = np.array([low, high, low, high, 0, -1])
    time = np.array([low, low, high, high, high, high])
    assert past(key, time).counts().tolist() == [0, 0, 1, 1, 0, 0]


def test_keys_and_times_of_other_lengths_are_refused():
    with pytest.raises(DataError, match="3 keys but 2 times"):
        past(np.arange(3), np.arange(2))


ROWS = st.lists(st.tuples(st.lists(st.integers(-3, 3), max_size=5), st.lists(st.integers(-3, 3), max_size=5)))


@given(ROWS)
def test_among_says_of_each_element_whether_its_row_of_the_others_has_it(rows):
    lists, others = (pa.array([row[side] for row in rows], pa.list_(pa.int64())) for side in (0, 1))
    expected = [[int(value in other) for value in mine] for mine, other in rows]
    assert among(lists, others).to_pylist() == expected
    assert among(lists.slice(1), others.slice(1)).to_pylist() == expected[1:]
