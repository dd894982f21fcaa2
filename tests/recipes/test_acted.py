import numpy as np
import pyarrow as pa
import pytest

from larix.data.join import Action, Clicked, Impressions, JoinSpec
from larix.data.keyed import partitions
from larix.data.log import DiskLog
from larix.errors import ConfigError, DataError
from larix.recipes.acted import feedback_to
from larix.train.online import JoinedSamples

NOON = 1_700_000_000_000
ROWS = pa.record_batch(
    {
        "impression_id": pa.array(["a"]),
        "event_id": pa.array(["e"]),
        "kind": pa.array(["click"]),
        "time_ms": pa.array([5]),
    }
)


@pytest.fixture
def log(tmp_path):
    with DiskLog(tmp_path / "log") as opened:
        opened.create("actions")
        yield opened


def test_actions_are_appended_with_the_columns_of_those_before(log):
    log.append("actions", ROWS)
    with feedback_to(log, "actions") as feedback:
        sent = [
            {"impression_id": "b", "kind": "like"},
            {"impression_id": "c", "kind": "like", "time_ms": 7, "event_id": "f"},
        ]
        assert feedback.append(sent).result(20) == 2
        with pytest.raises(DataError, match="'colour'"):
            feedback.append([{"colour": 1}]).result(20)
    with log.consumer("actions") as consumer:
        rows = [row for events in consumer.drain() for row in events.rows.to_pylist()]
    made = next(row for row in rows if row["impression_id"] == "b")
    assert made["time_ms"] > 1e12
    assert len(made["event_id"]) == 32
    assert {"impression_id": "c", "event_id": "f", "kind": "like", "time_ms": 7} in rows


def test_a_topic_that_is_empty_or_not_there_is_told(log):
    with pytest.raises(ConfigError, match="is empty"):
        feedback_to(log, "actions")
    with pytest.raises(ConfigError, match="acts"):
        feedback_to(log, "acts")


@pytest.fixture
def shown(tmp_path):
    """Forty users' impressions, two each and 10 s apart, in three partitions by user as a replay would put them."""
    with DiskLog(tmp_path / "keyed") as opened:
        for topic in ("impressions", "actions"):
            opened.create(topic, partitions=3)
        ids = np.arange(80)
        rows = pa.record_batch(
            {
                "impression_id": ids,
                "user_id": ids % 40,
                "event_id": pa.array([f"i{each}" for each in ids]),
                "time_ms": NOON + ids * 10_000,
            }
        )
        of = partitions(rows["user_id"], 3)
        for partition in range(3):
            opened.append("impressions", rows.filter(pa.array(of == partition)), partition=partition)
        begun = pa.record_batch(
            {
                "impression_id": pa.array([-1]),
                "user_id": pa.array([-1]),
                "event_id": pa.array(["begun"]),
                "time_ms": pa.array([NOON]),
            }
        )
        opened.append("actions", begun)
        yield opened


def spec(**more):
    at = {"key": "impression_id", "time": "time_ms", "event_id": "event_id"}
    return JoinSpec(
        impressions=Impressions("impressions", **at),
        actions=(Action("click", topic="actions", **at),),
        labels={"clicked": Clicked("click")},
        **{"window_s": 60, "lateness_s": 1, "ahead_s": None, **more},
    )


def clicks_of(numbers):
    return [
        {"impression_id": each, "user_id": each % 40, "time_ms": NOON + each * 10_000 + 500}
        for each in numbers
    ]


def joined(log):
    """What comes out before the input is said to be over."""
    samples = JoinedSamples(log, spec())
    found = []
    while len(part := samples.poll(0.0)) or samples.lag:
        found += part.to_pylist()
    samples.close()
    return {each["impression_id"]: each["clicked"] for each in found}


def test_actions_of_several_partitions_meet_their_impressions_and_time_goes_on(shown):
    with feedback_to(shown, "actions", keyed="user_id") as feedback:
        for number in range(0, 80, 2):  # each user's client for itself
            assert feedback.append(clicks_of([number])).result(20) == 1
        late = [NOON + 3_600_000] * 40
        acts = [
            each | {"time_ms": at, "impression_id": -2}
            for each, at in zip(clicks_of(range(40)), late, strict=True)
        ]
        assert feedback.append(acts).result(20) == 40
    with shown.consumer("actions") as consumer:
        there = [
            (each.partition, user) for each in consumer.drain() for user in each.rows["user_id"].to_pylist()
        ]
    there.remove((0, -1))
    assert {partition for partition, _ in there} == {0, 1, 2}
    users = pa.array([user for _, user in there])
    assert partitions(users, 3).tolist() == [
        partition for partition, _ in there
    ]  # where their impressions are
    # Impressions went on to 790 s; what is older by the window and the lateness is final in all partitions.
    expected = {number: float(number % 2 == 0) for number in range(80)}
    found = joined(shown)
    assert len(found) > 60
    assert found == {number: expected[number] for number in found}


def test_a_topic_of_several_partitions_needs_a_column_to_go_by(shown):
    with pytest.raises(ConfigError, match=r"has 3 partitions; say by which column .* impression_id, user_id"):
        feedback_to(shown, "actions")
    with pytest.raises(ConfigError, match="keyed by 'user', but actions have impression_id, user_id"):
        feedback_to(shown, "actions", keyed="user")


def test_a_column_that_is_no_key_is_told(log):
    log.append("actions", pa.record_batch({"share": pa.array([0.5])}))
    with pytest.raises(ConfigError, match="column of double"):
        feedback_to(log, "actions", keyed="share")


def test_columns_of_other_types_are_the_clients_to_give(log):
    log.append("actions", pa.record_batch({"event_id": pa.array([1]), "time_ms": pa.array(["noon"])}))
    with feedback_to(log, "actions") as feedback:
        assert feedback.append([{"event_id": 2}]).result(20) == 1
    with log.consumer("actions") as consumer:
        rows = [row for events in consumer.drain() for row in events.rows.to_pylist()]
    assert rows[-1] == {"event_id": 2, "time_ms": None}
