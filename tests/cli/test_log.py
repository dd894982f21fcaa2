import json
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from larix.data.log import DiskLog

EVENTS = pa.record_batch({"user": [1, 2, None], "kind": ["tap", "höld", None], "raw": [b"\x00", b"x", None]})


@pytest.fixture
def log(tmp_path):
    folder = tmp_path / "events"
    with DiskLog(folder) as opened:
        opened.create("clicks", partitions=2)
        opened.create("empty")
        for _ in range(4):
            opened.append("clicks", EVENTS, partition=1)
    return folder


def printed(told):
    assert told.code == 0, told
    return [json.loads(line) for line in told.out.splitlines()]


def test_ls_lists_every_partition_with_its_offsets(larix, log):
    told = larix("log", "ls", log)
    assert told.code == 0
    rows = [line.split() for line in told.out.splitlines() if line.strip() and "─" not in line]
    assert rows == [
        ["topic", "partition", "oldest", "newest"],
        ["clicks", "0", "0", "0"],
        ["clicks", "1", "0", "12"],
        ["empty", "0", "0", "0"],
    ]


def test_tail_prints_the_last_events_as_json(larix, log):
    rows = printed(larix("log", "tail", log, "clicks", "-n", "2"))
    assert rows == [{"user": 2, "kind": "höld", "raw": "b'x'"}, {"user": None, "kind": None, "raw": None}]
    assert len(printed(larix("log", "tail", log, "clicks"))) == 10
    assert printed(larix("log", "tail", log, "empty")) == []
    assert len(printed(larix("log", "tail", log, "clicks", "-n", "100"))) == 12


def test_tail_begins_at_a_time(larix, log):
    before = datetime.fromtimestamp(time.time() - 3600).isoformat(timespec="seconds")
    after = datetime.fromtimestamp(time.time() + 3600).isoformat(timespec="seconds")
    assert len(printed(larix("log", "tail", log, "clicks", "--since", before))) == 12
    assert printed(larix("log", "tail", log, "clicks", "--since", after)) == []


def test_tail_follows_until_it_is_stopped(process, log):
    following = process("log", "tail", log, "clicks", "-n", "1", "-f")
    assert json.loads(following.stdout.readline())["user"] is None
    with DiskLog(log) as opened:
        opened.append("clicks", pa.record_batch({"user": [77]}))
    assert json.loads(following.stdout.readline()) == {"user": 77}
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=60)
    assert following.returncode == 130


def test_tail_shows_what_no_calendar_has(larix, log):
    with DiskLog(log) as opened:
        rows = {
            "user": [1, 2],
            "at": pa.array([None, 10**18], pa.timestamp("ms")),
            "days": pa.array([1, 2**31 - 1], pa.date32()),
        }
        opened.append("clicks", pa.record_batch(rows))
    told = larix("log", "tail", log, "clicks", "-n", "2")
    assert told.code == 0, told
    shown = [json.loads(line) for line in told.out.splitlines()]
    assert [row for row in shown if "days" in row] == [
        {"user": 1, "at": None, "days": "date32[day] out of range"},
        {"user": 2, "at": "timestamp[ms] out of range", "days": "date32[day] out of range"},
    ]


def test_append_takes_files_and_makes_what_is_not_there(larix, tmp_path):
    table = pa.table({"user": list(range(2500))})
    pq.write_table(table, tmp_path / "rows.parquet")
    told = larix("log", "append", tmp_path / "new", "taps", tmp_path / "rows.parquet", "--partition", "1")
    assert told.out.strip() == "2,500 events appended to partition 1 of topic 'taps'"
    with DiskLog(tmp_path / "new") as opened:
        assert opened.topics() == {"taps": 2}
        rows = [row for got in opened.consumer("taps").drain() for row in got.rows["user"].to_pylist()]
    assert rows == list(range(2500))


def test_mistakes_are_told(mistake, log, tmp_path):
    assert f"'{tmp_path}' is no event log; give a log's folder" in mistake("log", "ls", tmp_path)
    assert "no topic 'nobody'" in mistake("log", "tail", log, "nobody")
    assert "no file matches" in mistake("log", "append", log, "clicks", tmp_path / "none.parquet")
    assert "has no partition 5" in mistake("log", "append", log, "clicks", rows(tmp_path), "--partition", "5")
    with DiskLog(log) as opened:
        opened.append("clicks", EVENTS)
        assert "only one process at a time" in mistake("log", "append", log, "clicks", rows(tmp_path))


def rows(folder) -> Path:
    pq.write_table(pa.table({"user": [1]}), folder / "rows.parquet")
    return folder / "rows.parquet"


def test_kafka_is_asked_where_the_log_is_named_so(mistake, monkeypatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    assert "pip install 'larix[kafka]'" in mistake("log", "ls", "kafka://localhost:9092")
