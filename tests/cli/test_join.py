import json

import pyarrow as pa
import pytest

from larix.data.join import Action, Clicked, Impressions, JoinSpec
from larix.data.log import DiskLog


@pytest.fixture
def words(tmp_path):
    at = {"key": "show", "time": "at", "event_id": "id"}
    spec = JoinSpec(
        impressions=Impressions("shows", **at),
        actions=(Action("tap", topic="taps", **at),),
        labels={"tapped": Clicked("tap")},
        ahead_s=None,
    )
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_json()))
    with DiskLog(tmp_path / "events") as log:
        log.create("shows")
        log.create("taps")
        log.append("shows", pa.record_batch({"show": [1, 2], "at": [5, 6], "id": ["a", "b"]}))
        log.append("taps", pa.record_batch({"show": [2, 2, 3], "at": [7, 7, 8], "id": ["c", "c", "d"]}))
    options = {"spec": tmp_path / "spec.json", "out": "samples", "state": tmp_path / "join"}
    return [tmp_path / "events", *(word for name, value in options.items() for word in (f"--{name}", value))]


def test_join_makes_a_topic_of_samples_and_tells_what_became_of_events(larix, words):
    told = larix("join", *words, "--end")
    assert told.code == 0, told
    assert "2 samples and 0 corrections" in told.out
    rows = {line.split()[0]: line.split()[1:] for line in told.out.splitlines() if line.strip()}
    assert rows["tap"] == ["2", "0", "0", "0", "1", "1"]
    with DiskLog(words[0]) as log, log.consumer("samples") as consumer:
        (found,) = consumer.drain()
    assert found.rows.column("tapped").to_pylist() == [0.0, 1.0]


def test_join_again_finds_nothing_left_to_do(larix, words):
    larix("join", *words, "--end")
    assert "2 samples" in larix("join", *words, "--end").out
    with DiskLog(words[0]) as log:
        assert log.newest("samples").next == {0: 2}


def test_what_events_are_may_be_told_and_others_become_dead_letters(larix, words, tmp_path):
    told = tmp_path / "columns.json"
    told.write_text(
        json.dumps(
            {
                "shows": {
                    "show": "int64",
                    "at": "int64",
                    "id": "string",
                    "rank": {"type": "int64", "default": 7},
                }
            }
        )
    )
    with DiskLog(words[0]) as log:
        log.append("shows", pa.record_batch({"show": [2.5], "at": [9], "id": ["e"]}))
    done = larix("join", *words, "--end", "--columns", told)
    assert done.code == 0, done
    assert "2 samples" in done.out
    assert "1 events went to dead letters: column 'show' is double, wanted int64" in done.out
    with DiskLog(words[0]) as log, log.consumer("samples") as consumer:
        (found,) = consumer.drain()
        assert log.newest("shows.dead").next == {0: 1}
    assert found.rows.schema.field("show").type == pa.int64()
    assert found.rows["rank"].to_pylist() == [7, 7]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nothing", "tells no columns by topic"),
        ("[1]", "tells no columns by topic"),
        ('{"shows": 1}', "tells no columns by topic"),
        ('{"shows": {"show": "whole"}}', "column 'show' is 'whole', which is no type"),
        ('{"shows": {"show": "int64"}}', "lack 'at'"),
        ('{"showz": {"show": "int64"}}', "columns are given of topic 'showz'"),
    ],
)
def test_columns_that_are_none_are_told(mistake, words, tmp_path, text, why):
    (tmp_path / "columns.json").write_text(text)
    assert why in mistake("join", *words, "--end", "--columns", tmp_path / "columns.json")


def test_the_help_shows_how_columns_are_told(larix):
    said = " ".join(larix("join", "--help").out.replace("\u2502", " ").split())
    assert '{"shows": {"show_id": "int64"' in said
    assert "TOPIC.dead" in said


def test_a_spec_that_is_none_is_told(larix, words, tmp_path):
    (tmp_path / "spec.json").write_text("{}")
    told = larix("join", *words)
    assert told.code == 2
    assert "is no join's declaration" in told.err
    (tmp_path / "spec.json").unlink()
    told = larix("join", *words)
    assert told.code == 2
    assert "spec.json" in told.err
