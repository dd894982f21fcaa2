import pyarrow as pa
import pytest

from larix.data.log import DiskLog
from larix.errors import ConfigError, DataError
from larix.recipes.acted import feedback_to

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
        opened.create("actions", partitions=2)
        yield opened


def test_actions_are_appended_with_the_columns_of_those_before(log):
    log.append("actions", ROWS, partition=1)
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


def test_columns_of_other_types_are_the_clients_to_give(log):
    log.append("actions", pa.record_batch({"event_id": pa.array([1]), "time_ms": pa.array(["noon"])}))
    with feedback_to(log, "actions") as feedback:
        assert feedback.append([{"event_id": 2}]).result(20) == 1
    with log.consumer("actions") as consumer:
        rows = [row for events in consumer.drain() for row in events.rows.to_pylist()]
    assert rows[-1] == {"event_id": 2, "time_ms": None}
