"""What the script says, without running it; `test_flink.py` runs scripts."""

import re
from dataclasses import replace

import pyarrow as pa
import pytest
from join_flink import SCHEMAS

from larix.data.join import Action, Clicked, Downsample, Impressions, JoinSpec, Total
from larix.data.join.flink import Files, Kafka, sql, statements
from larix.errors import ConfigError

AT = {"key": "key", "time": "time", "event_id": "id"}
KAFKA = Kafka(servers="one:9092,two:9092")
SPEC = JoinSpec(
    impressions=Impressions("shows", **AT),
    actions=(Action("watch", topic="acts", where={"kind": "watch"}, value="ms", **AT),),
    labels={"watched": Clicked("watch"), "ms": Total("watch")},
)


def script_of(spec=SPEC, schemas=SCHEMAS, source=KAFKA, sink=KAFKA, **more):
    return sql(spec, schemas, source=source, sink=sink, **more)


def columns_of(script, table):
    """The names that a CREATE TABLE declares."""
    (found,) = (each for each in statements(script) if each.startswith(f"CREATE TEMPORARY TABLE `{table}`"))
    return re.findall(r"^\s+`([^`]+)`", found.split("WITH (")[0], re.MULTILINE)


def test_kafka_and_files_differ_in_their_tables_only(tmp_path):
    files = Files(folder=tmp_path, partitions={"shows": 1, "acts": 1})
    others = [
        [each for each in statements(script_of(source=at, sink=at)) if " TABLE " not in each]
        for at in (KAFKA, files)
    ]
    shapes = [re.sub(r"_0\b|, 0 AS `_partition`", "", "\n".join(each)) for each in others]
    assert shapes[0] == shapes[1]


def test_a_sample_has_its_features_labels_and_when_it_was_final():
    told = ["key", "time", "id", "user", "score", "tag", "watched", "ms"]
    assert columns_of(script_of(), "samples") == [*told, "ready_ms"]
    few = script_of(replace(SPEC, negatives=Downsample(label="watched", rate=0.25, seed=7)))
    assert columns_of(few, "samples") == [*told, "sample_rate", "ready_ms"]
    assert "MD5('7:' || CAST(`k` AS STRING)), 1, 8) < '40000000'" in few


AT_ONCE = replace(SPEC, emit="at_once")


def test_at_once_a_sample_waits_for_no_window_and_says_whether_it_corrects():
    script = script_of(AT_ONCE)
    assert columns_of(script, "samples")[-4:] == ["watched", "ms", "correction", "ready_ms"]
    assert "`time` + 1800000" in script_of()
    assert "`time` + 1800000" not in script
    first, later = script[script.index("INSERT INTO `samples`") :].split("UNION ALL")[:2]
    assert "FROM `accepted`" in first
    assert "FROM `corrected`" in later


def test_down_sampling_at_once_leaves_out_no_correction():
    script = script_of(replace(AT_ONCE, negatives=Downsample(label="watched", rate=0.25)))
    first, later = script[script.index("INSERT INTO `samples`") :].split("UNION ALL")[:2]
    assert "< '40000000'" in first
    assert "CAST(0.25 AS FLOAT)" in first
    assert "WHERE" not in later[: later.index(";")]
    assert "CAST(1 AS FLOAT)" in later


def test_a_feature_gives_way_to_what_the_join_makes_and_only_to_that():
    shows = SCHEMAS["shows"]
    for name in ("sample_rate", "correction", "watched"):
        shows = shows.append(pa.field(name, pa.string()))
    for spec in (SPEC, AT_ONCE, replace(AT_ONCE, negatives=Downsample(label="watched", rate=0.5))):
        columns = columns_of(script_of(spec, schemas=SCHEMAS | {"shows": shows}), "samples")
        assert sorted(columns) == sorted({*shows.names, *spec.made})


def test_labels_may_be_called_as_the_job_calls_its_columns():
    names = ("k", "at", "kind", "shown", "ready", "label k", "before k")
    labels = {name: Total("watch") for name in names}
    script = script_of(replace(AT_ONCE, labels=labels))
    assert "AS `label label k`" in script
    assert columns_of(script, "samples")[-9:-2] == [*names]


def test_all_negatives_stay_where_the_rate_is_one():
    assert "MD5" not in script_of(replace(SPEC, negatives=Downsample(label="watched", rate=1)))


def test_of_actions_only_what_the_join_needs_is_read():
    schemas = SCHEMAS | {"acts": SCHEMAS["acts"].append(SCHEMAS["shows"].field("tag"))}
    assert "tag" not in columns_of(script_of(schemas=schemas), "actions_in_acts")


def test_times_are_held_against_those_of_the_append_only_if_the_spec_says_so():
    assert "`time` - 60000, 3) <= `_appended`" in script_of()
    assert "<= `_appended`" not in script_of(replace(SPEC, ahead_s=None))


def test_state_and_idleness_follow_the_spec():
    assert "'table.exec.state.ttl' = '1860000 ms'" in script_of()
    assert "'table.exec.state.ttl' = '600000 ms'" in script_of(replace(SPEC, window_s=1, lateness_s=0))
    assert "idle" not in script_of()
    assert "'table.exec.source.idle-timeout' = '2500 ms'" in script_of(replace(SPEC, idle_s=2.5))


def test_options_of_the_connector_win_over_ours_and_those_of_reading_stay_there():
    more = Kafka(servers="a:1", options={"scan.startup.mode": "timestamp", "properties.acks": "it's"})
    script = script_of(source=more, sink=more)
    assert "'scan.startup.mode' = 'timestamp'" in script
    assert "earliest-offset" not in script
    samples = script[script.index("TABLE `samples`") :]
    assert "'properties.acks' = 'it''s'" in samples
    assert "scan.startup" not in samples


@pytest.mark.parametrize(
    ("change", "schemas", "complaint"),
    [
        ({}, {"shows": SCHEMAS["shows"]}, "topic 'acts' are not said"),
        ({}, SCHEMAS | {"acts": SCHEMAS["shows"]}, "no column 'kind'|no column 'ms'"),
        ({"window_s": 1000 * 86400}, SCHEMAS, "999 days"),
    ],
)
def test_what_a_job_cannot_do_is_refused(change, schemas, complaint):
    with pytest.raises(ConfigError, match=complaint):
        script_of(replace(SPEC, **change), schemas)


def test_two_columns_of_one_name_and_names_of_the_job_are_refused():
    shows = SCHEMAS["shows"]
    for taken in ("tag", "_due"):
        with pytest.raises(ConfigError, match=r"two columns|job's own"):
            script_of(schemas=SCHEMAS | {"shows": shows.append(shows.field("tag").with_name(taken))})


def test_how_many_files_a_topic_has_must_be_said(tmp_path):
    with pytest.raises(ConfigError, match="partitions=\\{'shows': N\\}"):
        script_of(source=Files(folder=tmp_path))


@pytest.mark.parametrize("seconds", [0, -1, 1e9])
def test_checkpoints_come_at_intervals(seconds):
    with pytest.raises(ConfigError, match="checkpoint_s"):
        script_of(checkpoint_s=seconds)
