import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from log_events import appends, flip, frames, numbered

from larix.data.log import Column, DiskLog, Offsets, Retention
from larix.data.log.head import Head
from larix.errors import ConfigError, StorageError

KILLS = Path(__file__).resolve().parents[1] / "log_kills.py"


@pytest.fixture
def log(tmp_path, clock):
    with DiskLog(tmp_path / "log", segment_bytes=20_000, clock=clock) as opened:
        opened.create("clicks", partitions=2)
        yield opened


def drained(log, topic="clicks", **options):
    with log.consumer(topic, **options) as consumer:
        return [events.rows for events in consumer.drain()]


def segment(log, topic="clicks", partition=0, which=0):
    return sorted((log.folder / "topics" / topic / str(partition)).glob("*.segment"))[which]


# Faults of the process and of the disk.


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_whoever_is_killed_leaves_every_acknowledged_append_and_nothing_half(tmp_path, rounds):
    for number in range(rounds):
        seed, kills = random.randrange(2**20), 20
        told = subprocess.run(
            [sys.executable, KILLS, tmp_path / str(number), str(kills), str(seed)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(KILLS.parent)])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, (seed, told.stderr)
        words = told.stdout.split()
        assert int(words[3]) > 0  # acknowledged
        assert int(words[5]) > 0  # batches found
        shutil.rmtree(tmp_path / str(number))


OTHER = """
import sys
from log_events import numbered
from larix.data.log import DiskLog
from larix.errors import LarixError
with DiskLog(sys.argv[1]) as log:
    try:
        print(log.append("clicks", numbered(2, 0, 3), partition=int(sys.argv[2])))
    except LarixError as error:
        print(type(error).__name__, error)
"""


def elsewhere(log, partition):
    """Append three rows in another process; what it says."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(KILLS.parent)])}
    return subprocess.run(
        [sys.executable, "-c", OTHER, log.folder, str(partition)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_a_second_process_may_append_to_another_partition_but_not_to_the_same(log):
    log.append("clicks", numbered(1, 0, 5))
    said = elsewhere(log, 0)
    assert said.startswith(f"LeaseError partition 0 of topic 'clicks' is process {os.getpid()} on ")
    assert elsewhere(log, 1) == "0"
    log.append("clicks", numbered(1, 1, 5))
    log.release("clicks")
    assert elsewhere(log, 0) == "10"
    assert appends(drained(log, partitions=[0])) == [(1, 0), (1, 1), (2, 0)]
    assert log.append("clicks", numbered(1, 2, 1)) == 13


def test_a_damaged_segment_in_the_middle_is_named_or_passed_over_and_counted(log):
    for n in range(60):
        log.append("clicks", numbered(1, n, 10))
    path = segment(log, which=1)
    at, header = frames(path)[2]
    flip(path, at + 300)
    with pytest.raises(StorageError, match=f"{path.name}' is damaged at byte {at}; rows {header.first} to "):
        drained(log)
    with log.consumer("clicks", skip_lost=True) as consumer:
        rows = [events.rows for events in consumer.drain()]
        assert consumer.lost == 10
    assert appends(rows) == [(1, n) for n in range(60) if n != header.first // 10]
    assert log.append("clicks", numbered(1, 60, 10)) == 600


# Times.


def test_clock_jumps_leave_the_order_and_searches_by_time_sound(log, clock):
    jumps = [0, 3_600_000, -7_200_000, 10, 5_000_000, -1, 0, 86_400_000, -86_400_000, 3]
    times = []
    for n in range(100):
        clock.ms += jumps[n % len(jumps)]
        times.append(clock.ms)
        log.append("clicks", numbered(1, n, 10))
    assert len(list((log.folder / "topics/clicks/0").glob("*.segment"))) > 3
    assert appends(drained(log)) == [(1, n) for n in range(100)]
    for time_ms in sorted({*times, times[3] + 1, 0, 2**60}):
        at = log.at_time("clicks", time_ms).next[0]
        assert all(when < time_ms for when in times[: at // 10])  # nothing that late lies before
        latest = [max(times[: n + 1]) for n in range(100)]
        assert at == 10 * next((n for n in range(100) if latest[n] >= time_ms), 100)


def test_a_replay_from_a_time_begins_with_the_first_append_of_that_time(log, clock):
    for n in range(30):
        clock.ms += 1000
        log.append("clicks", numbered(1, n, 10), partition=n % 2)
    start = log.at_time("clicks", 1_000_000 + 21_000)
    rows = drained(log, start=start)
    assert sorted(found for each in rows for found in appends([each])) == [(1, n) for n in range(20, 30)]
    assert drained(log, start=log.at_time("clicks", clock.ms + 1)) == []


# Consumers.


def test_consumers_of_several_processes_share_a_dead_letter_topic(log, tmp_path):
    log.append("clicks", pa.record_batch({"n": ["x"] * 5}))
    with DiskLog(log.folder) as other:
        for each in (log, other, log):
            with each.consumer("clicks", columns=[Column("n", pa.int64())], dead_letters="bad") as consumer:
                assert consumer.poll() == []
                assert consumer.dead.total() == 5
    assert sum(len(batch) for batch in drained(log, "bad")) == 3


def test_a_position_in_the_middle_of_an_append_gives_the_rest_of_it(log):
    log.append("clicks", numbered(1, 0, 10))
    start = Offsets(log=log.id, topic="clicks", next={0: 7})
    (rows,) = drained(log, start=start)
    assert rows["row"].to_pylist() == [7, 8, 9]


def test_a_head_that_a_power_cut_put_back_is_set_right_for_a_position_beyond_it(log):
    for n in range(3):
        log.append("clicks", numbered(1, n, 10))
    position = log.newest("clicks")
    log.release("clicks")
    for offset in (0, 10):
        with Head(log.folder / "topics/clicks/0/head", write=True) as head:
            head.show(offset)
            head.assure(offset)
        with log.consumer("clicks", start=position) as consumer:
            assert consumer.lag == 0
        assert log.newest("clicks") == position
    with DiskLog(log.folder) as other:
        assert other.append("clicks", numbered(1, 3, 10)) == 30  # the lease was given back


def test_a_position_of_another_log_or_beyond_the_end_is_a_mistake(log, tmp_path):
    log.append("clicks", numbered(1, 0, 10))
    with DiskLog(tmp_path / "other") as other:
        other.create("clicks", partitions=2)
        with pytest.raises(ConfigError, match=f"of log {log.id}, but this log is {other.id}"):
            other.consumer("clicks", start=log.newest("clicks"))
    with pytest.raises(ConfigError, match="offset 11 is beyond the end 10"):
        log.consumer("clicks", start=Offsets(log=log.id, topic="clicks", next={0: 11}))


# Topics, retention, the folder.


def test_topics_are_made_once_and_keep_their_number_of_partitions(log):
    log.create("clicks", partitions=2)
    assert log.topics() == {"clicks": 2}
    with pytest.raises(ConfigError, match="topic 'clicks' has 2 partitions, not 3"):
        log.create("clicks", partitions=3)
    for name in ("", "a/b", ".hidden", "..", "x" * 201, "ä"):
        with pytest.raises(ConfigError, match="is no name of a topic"):
            log.create(name)
    with pytest.raises(ConfigError, match="partitions must be between 1 and 1024, got 0"):
        log.create("none", partitions=0)


def test_retention_goes_with_appends_and_can_be_changed(log, clock):
    log.create("short", retention=Retention(size_bytes=60_000))
    for n in range(300):
        clock.ms += 1000
        log.append("short", numbered(1, n, 10))
    folder = log.folder / "topics/short/0"
    assert sum(path.stat().st_size for path in folder.glob("*.segment")) <= 80_000
    begin = log.oldest("short").next[0]
    assert 0 < begin < log.newest("short").next[0] == 3000
    assert appends(drained(log, "short")) == [(1, n) for n in range(begin // 10, 300)]
    log.create("short", retention=Retention(age_s=10))
    assert log.expire() >= 1
    assert log.oldest("short").next[0] > begin


def test_expire_leaves_partitions_that_another_writes(log, clock):
    log.create("short", retention=Retention(age_s=1))
    for n in range(100):
        clock.ms += 1000
        log.append("short", numbered(1, n, 10))
    clock.ms += 10**9
    with DiskLog(log.folder, clock=clock) as other:
        assert other.expire() == 0
        log.release("short")
        assert other.expire() > 0
    assert log.append("short", numbered(1, 100, 10)) == 1000


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ConfigError, match="is not empty and is no event log"):
        DiskLog(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{", "is damaged: it does not say which log this is"),
        ('{"format": 9, "id": "x"}', "has format 9, not 1"),
    ],
)
def test_a_log_that_is_damaged_or_newer_is_told(tmp_path, content, error):
    (tmp_path / "log.json").write_text(content)
    with pytest.raises(StorageError, match=error):
        DiskLog(tmp_path)


def test_processes_that_make_the_log_at_once_make_one(tmp_path):
    code = "import sys; from larix.data.log import DiskLog; print(DiskLog(sys.argv[1]).id)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    making = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "log"], stdout=subprocess.PIPE, env=environment, text=True
        )
        for _ in range(4)
    ]
    assert len({each.communicate()[0] for each in making}) == 1
    assert not any(each.returncode for each in making)


@pytest.mark.parametrize("options", [{"segment_bytes": 10}, {"commit_every_s": 0}, {"commit_every_s": 61}])
def test_settings_out_of_range_are_mistakes(tmp_path, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        DiskLog(tmp_path / "log", **options)
    assert not (tmp_path / "log").exists()


def test_closing_makes_what_was_sent_durable_and_frees_the_partitions(tmp_path):
    with DiskLog(tmp_path / "log", commit_every_s=60) as log:
        log.create("clicks")
        log.send("clicks", numbered(1, 0, 5))
    with DiskLog(tmp_path / "log") as log:
        assert appends(drained(log)) == [(1, 0)]
        assert log.append("clicks", numbered(1, 1, 5)) == 5


def test_what_is_sent_is_durable_soon_without_asking(tmp_path):
    with DiskLog(tmp_path / "log", commit_every_s=0.001) as log:
        log.create("clicks")
        log.send("clicks", numbered(1, 0, 5))
        until = time.monotonic() + 20
        with Head(tmp_path / "log/topics/clicks/0/head") as head:
            while head.durable != 5 and time.monotonic() < until:
                time.sleep(0.001)
            assert head.durable == 5
