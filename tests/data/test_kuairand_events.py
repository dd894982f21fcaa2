import pyarrow as pa
import pytest

from larix.data import kuairand, kuairand_events, synthetic
from larix.data.join.reference import Reference
from larix.data.log import Events

PARTITIONS = {"impressions": 1, "actions": 1}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feed")
    feed = synthetic.write(folder / "feed", users=30, items=40, new_items=2, days=3, impressions=400)
    return kuairand.prepare(feed, folder / "ready")


def joined(samples, **more):
    """The samples that the oracle makes of the events of ``samples``, by key, and what it counted."""
    unjoin = kuairand_events.unjoin(samples.schema)
    oracle = Reference(unjoin.join("impressions", "actions", **more), partitions=PARTITIONS)
    found = []
    for each in unjoin.slices(samples, every_ms=60_000):
        sides = (("impressions", each.impressions), ("actions", each.actions))
        found += oracle.push(
            [
                Events(topic=topic, partition=0, offset=0, time_ms=0, rows=rows)
                for topic, rows in sides
                if len(rows)
            ]
        )
    return found + oracle.finish(), oracle.stats


def test_the_join_of_its_events_is_the_very_log_in_the_order_of_time(samples):
    found, stats = joined(samples)
    told = [row for batch in samples.stream() for row in batch.to_pylist()]
    told.sort(key=lambda row: (row["time_ms"], f"{row['user_id']}-{row['video_id']}-{row['time_ms']}"))
    assert len(found) == len(told) > 300
    for got, row in zip(found, told, strict=True):
        known = {name: value for name, value in row.items() if value is not None and "stay_time" not in name}
        assert got == known | {
            "impression_id": f"{row['user_id']}-{row['video_id']}-{row['time_ms']}",
            "event_id": got["impression_id"],
            "ready_ms": row["time_ms"] + 1_800_000,
        }
    assert sum(row["is_click"] for row in told) > 50  # so the labels are not all the same
    assert stats.samples == len(told)
    for fate in stats.kinds.values():
        assert (fate.null, fate.future, fate.late, fate.duplicate, fate.orphans) == (0, 0, 0, 0, 0)


def test_impressions_hold_no_outcome_and_actions_come_when_they_could_be_known(samples):
    unjoin = kuairand_events.unjoin(samples.schema)
    (records,) = pa.Table.from_batches(list(samples.stream())).combine_chunks().to_batches()
    impressions, actions = unjoin.apart(records)
    labels = {outcome.label for outcome in unjoin.outcomes}
    assert {"is_click", "long_view", "is_like", "is_profile_enter", "play_time_ms"} <= labels
    assert not (labels | {"profile_stay_time", "comment_stay_time"}) & set(impressions.column_names)
    assert set(samples.schema.names) - labels - {"profile_stay_time", "comment_stay_time"} < set(
        impressions.column_names
    )
    rows = {f"{row['user_id']}-{row['video_id']}-{row['time_ms']}": row for row in records.to_pylist()}
    after = {
        "click": lambda row: 1000,
        "long_view": lambda row: min(row["play_time_ms"], 18_000),
        "watch": lambda row: row["play_time_ms"],
        "like": lambda row: row["play_time_ms"],
    }
    checked = set()
    for action in actions.to_pylist():
        row = rows[action["impression_id"]]
        if action["kind"] in after:
            assert action["time_ms"] == row["time_ms"] + after[action["kind"]](row)
            checked.add(action["kind"])
        assert (action["value"] is not None) == (action["kind"] == "watch")
    assert checked == set(after)


def test_what_comes_after_the_window_is_lost_to_the_labels_as_it_would_be_live(samples):
    found, _ = joined(samples, window_s=5)
    whole, _ = joined(samples)
    played = [row["play_time_ms"] for row in whole]
    assert [row["play_time_ms"] for row in found] == [time if time <= 5000 else 0 for time in played]
    assert any(time > 5000 for time in played)
