from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix import data
from larix.data.unjoin import Outcome, Unjoin
from larix.errors import ConfigError, DataError

TAKEN = Unjoin(
    identity=("user", "time"),
    time="time",
    outcomes=(
        Outcome(label="click", kind="click", after_ms=5),
        Outcome(label="play", kind="watch", played="play", measured=True),
        Outcome(label="long", kind="long", played="play", at_most_ms=20),
    ),
    hidden=("stay",),
)


def samples(rows):
    """``rows``: (user, time, click, play, long)."""
    columns = list(zip(*rows, strict=True)) if rows else [[]] * 5
    names = ("user", "time", "click", "play", "long")
    found = {name: pa.array(values, pa.int64()) for name, values in zip(names, columns, strict=True)}
    extra = {
        "stay": pa.array([7] * len(rows)),
        "past": pa.array([[user] for user, *_ in rows], pa.list_(pa.int64())),
    }
    return pa.table(found | extra)


def written(folder, rows, files=1):
    for number, part in enumerate(np.array_split(np.arange(len(rows)), files)):
        pq.write_table(samples([rows[at] for at in part]), folder / f"{number}.parquet")
    return data.files(folder, time="time")


def all_of(slices):
    slices = list(slices)
    return [
        pa.Table.from_batches([getattr(each, side) for each in slices]).to_pylist()
        for side in ("impressions", "actions")
    ]


def test_an_impression_holds_what_was_known_then_and_an_action_each_thing_that_came_of_it():
    impressions, actions = TAKEN.apart(samples([(1, 100, 1, 30, 1), (2, 200, 0, 0, 0)]).to_batches()[0])
    assert impressions.to_pylist() == [
        {"impression_id": "1-100", "event_id": "1-100", "user": 1, "time": 100, "past": [1]},
        {"impression_id": "2-200", "event_id": "2-200", "user": 2, "time": 200, "past": [2]},
    ]
    assert actions.to_pylist() == [
        {"impression_id": "1-100", "event_id": f"1-100-{kind}", "kind": kind, "time": time, "value": value}
        for kind, time, value in (("click", 105, None), ("watch", 130, 30), ("long", 120, None))
    ]


def test_what_events_are_keyed_by_stands_in_the_actions_too():
    keyed = replace(TAKEN, keyed="user")
    records = samples([(1, 100, 1, 30, 1), (2, 200, 0, 0, 0), (3, 300, 0, 7, 0)]).to_batches()[0]
    impressions, actions = keyed.apart(records)
    assert impressions.equals(TAKEN.apart(records)[0])
    assert actions["user"].to_pylist() == [1, 1, 3, 1]
    assert actions.drop_columns(["user"]).equals(TAKEN.apart(records)[1])
    with pytest.raises(DataError, match="no column 'user'"):
        replace(TAKEN, identity=("time",), keyed="user").apart(records.drop_columns(["user"]))


@pytest.mark.parametrize(
    "name", ["value", "kind", "impression_id", TAKEN.time, TAKEN.outcomes[0].label, "secret"]
)
def test_a_key_that_events_would_lose_or_hide_is_refused(name):
    with pytest.raises(ConfigError, match=f"keyed by '{name}'"):
        replace(TAKEN, keyed=name, hidden=("secret",))


def test_slices_are_whole_in_the_order_of_time_and_hold_each_event_once(tmp_path):
    rows = [(user, 10 * user + user % 7, user % 2, user % 90, int(user % 3 == 0)) for user in range(1, 500)]
    slices = list(TAKEN.slices(written(tmp_path, rows, files=3), every_ms=50, disorder_ms=100))
    assert [each.until_ms for each in slices] == sorted({each.until_ms for each in slices})
    for each in slices:
        times = [batch["time"].to_pylist() for batch in (each.impressions, each.actions)]
        assert all(each.until_ms - 50 <= time < each.until_ms for side in times for time in side)
        assert all(side == sorted(side) for side in times)
        assert times != [[], []]
    impressions, actions = all_of(slices)
    assert sorted(each["user"] for each in impressions) == list(range(1, 500))
    ids = [each["event_id"] for each in actions]
    assert len(set(ids)) == len(ids) == sum(click + (play > 0) + long for _, _, click, play, long in rows)


def test_events_come_before_all_samples_are_read(tmp_path):
    rows = [(user, user * 1000, 1, 1, 0) for user in range(80_000)]
    slices = TAKEN.slices(written(tmp_path, rows, files=4), every_ms=100_000, disorder_ms=5000)
    assert next(slices).until_ms == 100_000
    for path in tmp_path.glob("3.parquet"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError):
        list(slices)


@given(
    rows=st.lists(
        st.tuples(
            st.integers(-3, 3), st.integers(0, 300), st.integers(0, 1), st.integers(0, 90), st.integers(0, 1)
        ),
        min_size=1,
        max_size=40,
        unique_by=lambda row: row[:2],
    ),
    every=st.integers(1, 400),
)
@settings(max_examples=60, deadline=None)
def test_however_they_are_cut_the_events_are_the_same(tmp_path_factory, rows, every):
    source = written(tmp_path_factory.mktemp("cut"), rows)
    impressions, actions = all_of(TAKEN.slices(source, every_ms=every, disorder_ms=300))
    apart = TAKEN.apart(samples(rows).to_batches()[0])
    whole = [table.sort_by([("time", "ascending"), ("event_id", "ascending")]) for table in apart]
    assert [impressions, actions] == [table.to_pylist() for table in whole]


def test_a_sample_older_than_allowed_is_refused_and_one_as_old_as_allowed_is_not(tmp_path):
    rows = [(user, 1000 * user, 0, 0, 0) for user in range(5000)]
    late = [*rows, (1, 4_999_000 - 60_000, 0, 0, 0)]
    impressions, _ = all_of(TAKEN.slices(written(tmp_path, late), every_ms=10_000, disorder_ms=60_000))
    assert len(impressions) == 5001
    (tmp_path / "late").mkdir()
    with pytest.raises(DataError, match="sort the files by time"):
        list(
            TAKEN.slices(
                written(tmp_path / "late", [*rows, (1, 100, 0, 0, 0)]), every_ms=10_000, disorder_ms=60_000
            )
        )


def test_what_no_event_can_say_is_refused():
    unknown = samples([(1, 100, None, 30, 1)]).to_batches()[0]
    with pytest.raises(DataError, match="'click' of the samples has nulls"):
        TAKEN.apart(unknown)
    with pytest.raises(DataError, match="no column 'click'"):
        TAKEN.apart(unknown.drop_columns(["click"]))
    with pytest.raises(ConfigError, match="a kind each"):
        Unjoin(identity=("user",), time="time", outcomes=TAKEN.outcomes[:1] * 2)
    with pytest.raises(ConfigError, match="every_ms"):
        next(TAKEN.slices(None, every_ms=0))
