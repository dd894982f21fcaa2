"""From topics to a topic: every sample once and in order, whatever is killed and when."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pyarrow as pa
import pytest
from join_events import PARTITIONS, act, said, show, spec_of, stream

from larix.data.join import Topics
from larix.data.join.reference import Reference
from larix.data.log import Column, DiskLog, LeaseError, read_letters
from larix.errors import ConfigError, StorageError

JOIN = """
import json, sys
from pathlib import Path
from larix.data.join import JoinSpec, Topics
from larix.data.log import DiskLog
log, folder, spec, end = sys.argv[1:]
with DiskLog(log) as events:
    Topics(log=events, spec=JoinSpec.from_json(json.loads(spec)), out="samples", folder=Path(folder), every_s=0.01).run(
        end=end == "end", stop=lambda: False
    )
"""


@pytest.fixture
def log(tmp_path):
    with DiskLog(tmp_path / "events") as opened:
        for topic, partitions in PARTITIONS.items():
            opened.create(topic, partitions=partitions)
        yield opened


def topics(log, tmp_path, **more):
    return Topics(
        **{"log": log, "spec": spec_of(), "out": "samples", "folder": tmp_path / "join", "every_s": 0.01}
        | more
    )


def samples(log):
    with log.consumer("samples") as consumer:
        return [row for found in consumer.drain() for row in said(pa.Table.from_batches([found.rows]))]


def never():
    return False


def feed(log, appends):
    for each in appends:
        log.append(each.topic, each.rows, partition=each.partition)


def expected(spec, appends):
    oracle = Reference(spec, partitions=PARTITIONS)
    return [row for each in appends for row in said(oracle.push([each]))] + said(oracle.finish())


def clean(seed):
    """Appends with features of one type each; copies come to the partition of the first, for between two there is no order."""
    found = []
    for each in stream(seed, appends=200, rows=20):
        rows = each.rows.drop_columns([name for name in ("a", "b") if name in each.rows.schema.names])
        ids = [None if id_ is None else f"{each.partition}-{id_}" for id_ in rows["id"].to_pylist()]
        rows = rows.set_column(rows.schema.get_field_index("id"), "id", pa.array(ids, pa.string()))
        found.append(replace(each, rows=rows))
    return found


@pytest.mark.parametrize("emit", ["end", "at_once"])
def test_samples_of_a_complete_input_are_those_of_the_oracle(log, tmp_path, emit):
    spec, appends = spec_of(emit=emit), clean(1)
    feed(log, appends)
    stats, dead = topics(log, tmp_path, spec=spec).run(end=True, stop=never)
    assert not dead
    assert samples(log) == expected(spec, appends)
    assert stats.samples > 100


def test_stopped_and_begun_again_it_goes_on(log, tmp_path):
    appends = clean(2)
    for first in range(0, 200, 50):
        feed(log, appends[first : first + 50])
        asked = iter([False] * 5)
        topics(log, tmp_path).run(end=False, stop=lambda asked=asked: next(asked, True))
    feed(log, appends[200:])
    topics(log, tmp_path).run(end=True, stop=never)
    assert samples(log) == expected(spec_of(), appends)


def test_killed_at_any_instant_no_sample_is_lost_or_there_twice(tmp_path):
    spec, appends, draw = spec_of(), clean(3), random.Random(0)
    with DiskLog(tmp_path / "events") as log:
        for topic, partitions in PARTITIONS.items():
            log.create(topic, partitions=partitions)
        feeding = threading.Thread(target=lambda: [(time.sleep(0.02), feed(log, [each])) for each in appends])
        feeding.start()
        words = [str(tmp_path / "events"), str(tmp_path / "join"), json.dumps(spec.to_json())]
        command, env = [sys.executable, "-c", JOIN, *words], {"PYTHONPATH": ":".join(sys.path)}
        killed = 0
        while feeding.is_alive() or killed < 5:
            process = subprocess.Popen([*command, "on"], env=env)
            until = time.monotonic() + 60
            before = sorted((tmp_path / "join").glob("state-*"))
            while (
                sorted((tmp_path / "join").glob("state-*")) == before
                and killed < 3
                and time.monotonic() < until
            ):
                time.sleep(0.001)
            time.sleep(draw.random() * 0.3)
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        feeding.join()
    subprocess.run([*command, "end"], env=env, check=True, timeout=120)
    with DiskLog(tmp_path / "events") as log:
        assert samples(log) == expected(spec, appends)
    assert killed >= 5


@pytest.mark.parametrize("there", [0, 1, 2, 3])
def test_what_a_killed_run_had_saved_but_not_appended_is_appended(log, tmp_path, monkeypatch, there):
    """Of the samples, all or some appends may be there already."""
    monkeypatch.setattr("larix.data.join.topics._ROWS", 100)
    appends, sent = clean(4), []
    feed(log, appends)

    def send(topic, rows, *, partition=0):
        if len(sent) == there:
            raise KeyboardInterrupt
        sent.append(DiskLog.send(log, topic, rows, partition=partition))

    with monkeypatch.context() as patched:
        patched.setattr(log, "send", send)
        with pytest.raises(KeyboardInterrupt):
            topics(log, tmp_path, every_s=100).run(end=True, stop=never)
    log.flush()
    assert len(samples(log)) == 100 * there
    topics(log, tmp_path).run(end=True, stop=never)
    assert samples(log) == expected(spec_of(), appends)


def test_samples_that_were_saved_and_damaged_are_named(log, tmp_path):
    feed(log, clean(5))
    topics(log, tmp_path, every_s=100).run(end=True, stop=never)
    (path,) = (tmp_path / "join").glob("state-*/samples.arrow")
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StorageError, match=r"samples.arrow' is damaged"):
        topics(log, tmp_path).run(end=True, stop=never)


def test_a_second_process_is_refused(log, tmp_path):
    feed(log, clean(6))

    def again():
        with pytest.raises(LeaseError, match=f"the join in '{tmp_path / 'join'}' is process"):
            topics(log, tmp_path).run(end=True, stop=never)
        return True  # and nothing that the first one wrote was taken for what a dead one has left

    topics(log, tmp_path).run(end=False, stop=again)


def test_topics_that_cannot_be_joined_are_told(log, tmp_path):
    log.create("wide", partitions=2)
    for wrong, told in (({"out": "acts"}, "which the join reads"), ({"out": "wide"}, "has 2 partitions")):
        with pytest.raises(ConfigError, match=told):
            topics(log, tmp_path, **wrong).run(end=True, stop=never)
    with DiskLog(tmp_path / "other") as empty, pytest.raises(ConfigError, match="no topic 'acts'"):
        topics(empty, tmp_path).run(end=True, stop=never)


def test_new_columns_come_through_to_the_topic(log, tmp_path):
    log.append("shows", pa.RecordBatch.from_pylist([show(1, 1000)]))
    log.append("shows", pa.RecordBatch.from_pylist([show(2, 1001, more=0.5)]), partition=1)
    log.append("acts", pa.RecordBatch.from_pylist([act("click", 2, 1500)]))
    topics(log, tmp_path).run(end=True, stop=never)
    assert [row.get("more") for row in samples(log)] == [None, 0.5]


def columns(*more):
    """What events of the two topics must be."""
    at = [Column("key", pa.int64()), Column("time", pa.int64()), Column("id", pa.string())]
    return {
        "shows": [*at, Column("rank", pa.int64(), 0), *more],
        "acts": [*at, Column("kind", pa.string()), Column("ms", pa.float64(), None)],
    }


def test_events_that_are_not_of_the_columns_told_cost_nobody_else_and_are_kept_and_counted(log, tmp_path):
    def shown(key, time, **more):
        return pa.RecordBatch.from_pylist([show(key, time, **more)])

    log.append("shows", shown(1, 10, rank=3, colour="red"))
    log.append("shows", shown("x", 20, rank=4))
    log.append("shows", shown(2.5, 30, rank=4))
    log.append("shows", shown(4, 40, rank="first"), partition=1)
    log.append("shows", shown(5, 50), partition=1)
    log.append("acts", pa.RecordBatch.from_pylist([act("click", 5, 60)]))
    log.append("acts", pa.RecordBatch.from_pylist([act("click", 1, 70)]).drop_columns("kind"))
    joined = topics(log, tmp_path, columns=columns()).run(end=True, stop=never)
    assert joined.stats.kinds["impression"].accepted == 2
    assert joined.stats.kinds["click"].accepted == 1
    assert sorted(joined.dead.values()) == [1, 1, 1, 1]
    assert any("no column 'kind'" in reason for reason in joined.dead)
    with log.consumer("samples") as consumer:
        (found,) = consumer.drain()
    assert found.rows.select(["key", "rank", "clicked"]).to_pylist() == [
        {"key": 1, "rank": 3, "clicked": 0.0},
        {"key": 5, "rank": 0, "clicked": 1.0},
    ]
    assert found.rows.schema.field("key").type == found.rows.schema.field("rank").type == pa.int64()
    assert "colour" not in found.rows.schema.names
    with log.consumer("shows.dead") as letters:
        dead = [row for each in letters.drain() for row in read_letters(each.rows)]
    assert {row["id"] for rows in dead for row in rows.rows.to_pylist()} == {"sx", "s2.5", "s4"}
    assert topics(log, tmp_path, columns=columns()).run(end=True, stop=never).dead == {}, "each once"


def test_columns_that_the_join_cannot_do_with_are_told_before_anything_is_made(log, tmp_path):
    for wrong, text in (
        ({"taps": []}, r"columns are given of topic 'taps', but the join reads \['acts', 'shows'\]"),
        (
            {"acts": columns()["acts"][1:]},
            "columns of topic 'acts' lack 'key', by which the join tells 'click'; add it",
        ),
        ({"acts": columns()["acts"][:-1]}, "lack 'ms', by which the join tells 'watch'"),
        ({"acts": [each for each in columns()["acts"] if each.name != "kind"]}, "lack 'kind'"),
        (
            {"shows": columns()["shows"][:2]},
            "columns of topic 'shows' lack 'id', by which the join tells 'impression'",
        ),
    ):
        with pytest.raises(ConfigError, match=text):
            topics(log, tmp_path, columns=wrong).run(end=True, stop=never)
    assert not (tmp_path / "join").exists()
    assert "samples" not in log.topics()
