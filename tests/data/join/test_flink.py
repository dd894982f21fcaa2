"""Scripts run in Flink give what the oracle and the embedded joiner give. Skipped where Flink or Java is missing."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from join_flink import FEED, SCHEMAS, crowd, fates, feed, frame, read, write

from larix.data.join import Action, Clicked, Downsample, Impressions, Joiner, JoinSpec, Toggle, Total, flink
from larix.data.join.reference import join
from larix.data.log import Events
from larix.errors import ConfigError, LarixError

AT = {"key": "key", "time": "time", "event_id": "id"}
WHY = flink.missing()
needs_flink = pytest.mark.skipif(WHY is not None, reason=str(WHY))


def spec_of(**more):
    actions = [Action(kind, topic="acts", where={"kind": kind}, **AT) for kind in ("click", "like", "unlike")]
    given = {
        "impressions": Impressions("shows", **AT),
        "actions": (*actions, Action("watch", topic="acts", where={"kind": "watch"}, value="ms", **AT)),
        "labels": {"clicked": Clicked("click"), "liked": Toggle("like", "unlike"), "ms": Total("watch")},
    }
    return JoinSpec(**given | more)


FEW = Downsample(label="clicked", rate=0.3, seed=5)
# A watermark after nearly every event, so that whatever came after one would be lost here.
OFTEN = {"pipeline.auto-watermark-interval": "1 ms"}


@pytest.fixture(scope="module")
def jvm():
    # The first compiler only: it starts in half the time, and these jobs are short.
    with flink.Flink(heap="2g", java=["-Xms2g", "-XX:TieredStopAtLevel=1"]) as started:
        yield started


def both(jvm, folder, spec, events, *, partitions=FEED, schemas=SCHEMAS, **options):
    """What the job wrote, and what the oracle says: samples in order, drops by kind and reason."""
    write(events, folder, partitions)
    files = flink.Files(folder=folder, partitions=partitions)
    jvm.run(flink.sql(spec, schemas, source=files, sink=files), **options)
    samples, stats = join(spec, events, partitions)
    ours = spec.impressions

    def ordered(rows):
        # By sample; corrections of one, of one millisecond too, come in the order in which they became true.
        sample = (ours.time, ours.key, ours.event_id)
        return sorted(
            rows,
            key=lambda row: (*(row[each] for each in sample), row.get("correction", False), row["ready_ms"]),
        )

    found = read(folder / "samples")
    for row in found:  # JSON has the shortest decimals of a float32
        row |= {name: float(np.float32(row[name])) for name in ("sample_rate",) if name in row}
    got = ordered(found), fates(read(folder / "dropped"), spec.kinds)
    return got, (ordered(samples), drops(stats))


def drops(stats):
    """What `fates` gives, from counts."""
    return {
        name: {reason: getattr(fate, reason) for reason in ("null", "future", "late", "duplicate")}
        for name, fate in stats.kinds.items()
    }


@needs_flink
def test_samples_and_drops_are_those_of_the_oracle(jvm, tmp_path):
    spec = spec_of(negatives=FEW)
    (samples, dropped), (wanted, said) = both(jvm, tmp_path, spec, feed(20_000), parallelism=2, options=OFTEN)
    assert dropped == said
    assert all(min(fate.values()) > 0 for name, fate in said.items() if name in ("impression", "click"))
    assert samples == wanted
    assert {row["sample_rate"] for row in samples} == {1.0, float(np.float32(0.3))}
    assert all(len({row[label] for row in samples}) > 1 for label in spec.labels)


@needs_flink
@pytest.mark.timeout(900)  # minutes on a machine where much else runs
@pytest.mark.parametrize(("emit", "count"), [("end", 1_000_000), ("at_once", 250_000)])
def test_a_million_events_give_the_samples_of_the_embedded_joiner(jvm, tmp_path, emit, count):
    spec, events = spec_of(window_s=600, emit=emit), feed(count, window_ms=600_000)
    write(events, tmp_path)
    files = flink.Files(folder=tmp_path, partitions=FEED)
    jvm.run(flink.sql(spec, SCHEMAS, source=files, sink=files, checkpoint_s=60), parallelism=2)
    joiner = Joiner(spec, partitions=FEED)
    pushes = [joiner.push(events[begin : begin + 64]) for begin in range(0, len(events), 64)]
    wanted = pl.DataFrame(pa.concat_tables([*pushes, joiner.finish()], promote_options="permissive"))
    dropped = fates(read(tmp_path / "dropped"), spec.kinds)
    assert dropped == drops(joiner.stats)
    assert sum(fate["late"] for fate in dropped.values()) > count // 100
    assert sum(fate["duplicate"] for fate in dropped.values()) > count // 300
    samples = frame(tmp_path / "samples", wanted.schema)
    order = ["time", "key", "id", *spec.made]
    assert joiner.stats.samples > 0.7 * count
    assert (joiner.stats.corrections > 0.1 * count) == (emit == "at_once")
    assert samples.height == joiner.stats.samples + joiner.stats.corrections
    assert samples.sort(order).equals(wanted.sort(order))


@needs_flink
def test_actions_of_one_millisecond_correct_one_after_another_as_in_the_oracle(jvm, tmp_path):
    spec = spec_of(emit="at_once", negatives=FEW, window_s=1, lateness_s=0.15, ahead_s=None)
    events = crowd(2400)
    (samples, dropped), (wanted, said) = both(jvm, tmp_path, spec, events, parallelism=3, options=OFTEN)
    assert dropped == said
    assert min(said["impression"][reason] for reason in ("late", "duplicate")) > 0
    assert samples == wanted
    times = [row["time"] for row in samples]
    assert max(times) - min(times) > 5000  # windows, one after another
    corrections = Counter(
        (row["key"], row["time"], row["id"], row["ready_ms"]) for row in samples if row["correction"]
    )
    assert sum(count > 2 for count in corrections.values()) > 10
    first = [float(np.float32(0.3))] * sum(not row["correction"] for row in samples)
    assert sorted(row["sample_rate"] for row in samples) == first + [1.0] * corrections.total()


ODD = pa.schema(
    [
        ("kind", pa.string()),
        ("key", pa.string()),
        ("time", pa.int64()),
        ("id", pa.int64()),
        ("order by `x`; --", pa.list_(pa.float64())),
        ("liked", pa.string()),
        ("long", pa.bool_()),
        ("ms", pa.string()),
    ]
)


def odd_events(partition):
    """Appends of one partition of a topic of everything; keys and ids are the partition's own."""
    key, ids = f"ü'{partition}", iter(range(partition * 1000 - 30, partition * 1000 + 900))

    def row(kind, time, id_=None, **more):
        return {"kind": kind, "key": key, "time": time, "id": next(ids) if id_ is None else id_, **more}

    show = row("show", 1000, liked="x", **{"order by `x`; --": [0.5, None]})
    yield [show, show, row("show", 1000), row("watch", 999, ms="5"), row("show", 1900)]
    # At one time: the last by its id, and where that is the same, by its kind.
    yield [
        row("like", 1950),
        row("unlike", 1950),
        row("like", 1950),
        row("unlike", 2100, -70 - partition),
        row("like", 2100, -70 - partition),
    ]
    yield [row("watch", 2000, ms=ms, long=True) for ms in ("1.5", "2", "x", None, "nan")]
    yield [
        row("watch", 2001, ms="64"),
        row("watch", 2900, ms="128"),
        row("watch", 2901, ms="256", long=False),
    ]
    yield [row("show", 2701), row("show", 2700), row("nod", 9000), row("show", 9000), row("show", 8799)]
    yield [{"kind": "show", "key": None, "time": 9000, "id": 1}, row("show", -1), row("show", 1 << 50)]
    # An id is remembered for as long as its first time would not be late.
    again, other = row("show", 9050), row("show", 9060)
    yield [again, other, other | {"time": 9100}, row("show", 9300), again | {"time": 9200}]


@needs_flink
@pytest.mark.parametrize("emit", ["end", "at_once"])
def test_one_topic_may_hold_everything_and_an_event_be_of_two_kinds(jvm, tmp_path, emit):
    here = {"topic": "feed", **AT}
    spec = JoinSpec(
        impressions=Impressions(where={"kind": "show"}, **here),
        actions=(
            Action("unlike", where={"kind": "unlike"}, **here),
            Action("like", where={"kind": "like"}, **here),
            Action("watch", where={"kind": "watch"}, value="ms", **here),
            Action("long", where={"long": True}, **here),
        ),
        labels={"liked": Toggle("like", "unlike"), "ms": Total("watch"), "it's long": Clicked("long")},
        **{"window_s": 1, "lateness_s": 0.2, "ahead_s": None, "keys": "string", "ids": "int64"},
        emit=emit,
    )
    events = [
        Events(
            topic="feed",
            partition=each,
            offset=0,
            time_ms=1,
            rows=pa.RecordBatch.from_pylist(rows, schema=ODD),
        )
        for each in (0, 1)
        for rows in odd_events(each)
    ]
    got, wanted = both(
        jvm, tmp_path, spec, events, partitions={"feed": 2}, schemas={"feed": ODD}, parallelism=2
    )
    assert got[1] == wanted[1]
    assert got[0] == wanted[0]
    samples, dropped = got
    assert dropped["impression"] == {"null": 6, "future": 0, "late": 4, "duplicate": 4}
    if emit == "at_once":
        mine = [row for row in samples if row["key"] == "ü'0" and row["time"] in (1900, 2701)]
        assert [(row["ready_ms"], row.get("liked"), row.get("ms"), row.get("it's long")) for row in mine] == [
            (1900, 0.0, 0.0, 0.0),
            (1950, 1.0, None, None),
            (1950, 0.0, None, None),
            (1950, 1.0, None, None),
            (2000, None, 1.5, None),
            (2000, None, None, 1.0),
            (2000, None, 3.5, None),
            (2001, None, 67.5, None),
            (2100, 0.0, None, None),
            (2100, 1.0, None, None),
            (2900, None, 195.5, None),
            (2701, 0.0, 0.0, 0.0),
            (2900, None, 128.0, None),
            (2901, None, 384.0, None),
        ]
        return
    assert [(row["time"], row["liked"], row["ms"], row["it's long"]) for row in samples[::2]] == [
        (1000, 1.0, 3.5, 1.0),
        (1000, 1.0, 3.5, 1.0),
        (1900, 1.0, 195.5, 1.0),
        (2701, 0.0, 384.0, 0.0),
        (9000, 0.0, 0.0, 0.0),
        (9050, 0.0, 0.0, 0.0),
        (9060, 0.0, 0.0, 0.0),
        (9200, 0.0, 0.0, 0.0),
        (9300, 0.0, 0.0, 0.0),
    ]


@needs_flink
def test_a_statement_that_flink_does_not_take_says_why(jvm):
    with pytest.raises(ConfigError, match=r"does not take a statement: .*no_such_table"):
        jvm.run("CREATE TEMPORARY VIEW `v` AS SELECT * FROM no_such_table;")


@needs_flink
def test_a_job_that_fails_says_why(jvm, tmp_path):
    files = flink.Files(folder=tmp_path, partitions=FEED)
    script = flink.sql(spec_of(), SCHEMAS, source=files, sink=files)
    with pytest.raises(LarixError, match=r"job failed: File .*(shows|acts)-\d\.json does not exist"):
        jvm.run(script)


@needs_flink
@pytest.mark.parametrize("emit", ["end", "at_once"])
def test_all_of_a_script_for_kafka_is_taken_but_its_connector_which_is_not_there(jvm, emit):
    names = ("k", "at", "kind", "ready", "label k", "before k")  # of labels, as the job calls its columns
    spec = spec_of(idle_s=5, emit=emit, labels=dict.fromkeys(names, Toggle("like", "unlike")))
    kafka = flink.Kafka(servers="localhost:9", options={"properties.security.protocol": "SSL"})
    script = flink.sql(spec, SCHEMAS, source=kafka, sink=kafka)
    with pytest.raises(ConfigError, match="identifier 'kafka'"):
        jvm.run(script)


@needs_flink
def test_nothing_is_left_of_a_jvm_that_was_closed():
    with flink.Flink() as started:
        process, folder = started._process, started._folder.name
        started.run("SET 'a' = 'b'; CREATE TEMPORARY VIEW `v` AS SELECT 1;")
        assert process.poll() is None
    assert process.poll() is not None
    assert not Path(folder).exists()


@needs_flink
def test_a_jvm_that_was_killed_is_told_of():
    with flink.Flink() as started:
        started._process.kill()
        started._process.wait()
        with pytest.raises(LarixError, match="JVM is gone"):
            started.run("CREATE TEMPORARY VIEW `v` AS SELECT 1;")


@needs_flink
def test_a_jvm_that_does_not_start_says_why():
    with pytest.raises(ConfigError, match=r"does not start: .*heap"):
        flink.Flink(heap="much")


def java_that_says(version, folder):
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n", encoding="utf-8")
    program.chmod(0o755)


@needs_flink
@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_392", ""])
def test_an_old_java_is_refused(version, tmp_path, monkeypatch):
    java_that_says(version, tmp_path)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert "needs Java 17" in flink.missing()
    java_that_says("21.0.1", tmp_path)
    assert flink.missing() is None


def test_without_java_or_the_extra_one_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert "Java 17" in flink.missing() or "larix[flink]" in flink.missing()
    with pytest.raises(ConfigError):
        flink.run("")
    monkeypatch.setitem(sys.modules, "pyflink.version", None)
    assert "larix[flink]" in flink.missing()


def test_a_script_falls_into_its_statements():
    script = """-- a; b
    SET 'x' = 'it''s; --'; /* c; */ SELECT `;`;
    EXECUTE STATEMENT SET BEGIN INSERT 1; INSERT 2; END; SELECT 3"""
    assert [*flink.statements(script)] == [
        "SET 'x' = 'it''s; --'",
        "SELECT `;`",
        "EXECUTE STATEMENT SET BEGIN INSERT 1; INSERT 2; END",
        "SELECT 3",
    ]
