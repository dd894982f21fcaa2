import json
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_feed import TINY

from larix import data
from larix.data.log import DiskLog
from larix.recipes import open_run, open_tables
from larix.train import version
from larix.train.online import Deltas, Replica


@pytest.fixture
def log(run, place, request):
    """A log with the samples of the run's test days as a joiner would have written them."""
    folder = place / f"log of {request.node.name}"
    samples = next(run.parent.joinpath("samples").glob("feed-*"))
    with DiskLog(folder) as opened:
        opened.create("samples")
        for path in data.files(samples).paths[-2:]:
            for batch in pq.read_table(path).to_batches(max_chunksize=50):
                opened.append("samples", batch)
        yield folder, opened.newest("samples").next[0]


def test_a_run_goes_on_in_a_folder_of_its_own_and_followers_with_it(larix, run, log, place):
    folder, rows = log
    out = place / "runs" / "live"
    words = ("online", run, "--log", folder, "--out", out, "--once", "--frozen")
    told = larix(*words, "--set", "batch_size=64", "--set", "span_s=36000", "--set", "window_s=3600")
    assert told.code == 0, told.err
    assert f"{rows:,} samples, 0 batches skipped; saved in {out}" in told.out
    assert "is_click AUC 0." in told.out
    assert "(frozen 0." in told.out
    again = larix(*words)
    assert f"{rows:,} samples" in again.out, "it goes on, and there is nothing new"
    opened, _ = open_run(out)
    network = type(opened.ranker)
    with DiskLog(folder) as events, Replica(out, network, Deltas(log=events)) as replica:
        assert replica.poll()
        assert replica.sequence > 1


def test_samples_of_the_future_are_left_out_and_told_of(larix, run, log, place):
    with DiskLog(log[0]) as events, events.consumer("samples") as consumer:
        rows = consumer.poll()[0].rows
    folder, size = place / "log with a future", len(rows)
    with DiskLog(folder) as events:
        events.create("samples")
        for ahead_s in (0, 100, 4_000_000_000):
            ready = pa.array([time.time_ns() // 1_000_000 + ahead_s * 1000] * size)
            events.append("samples", rows.append_column("ready_ms", ready))
    words = ("online", run, "--log", folder, "--once", "--set", "batch_size=64")
    told = larix(*words, "--out", place / "runs" / "ahead")
    assert f"{2 * size:,} samples, 0 batches skipped, {size} samples of the future left out" in told.out, (
        told.err
    )
    strict = larix(*words, "--out", place / "runs" / "strict", "--ahead", "50")
    assert f"{size:,} samples, 0 batches skipped, {2 * size} samples of the future left out" in strict.out, (
        strict.err
    )


def test_it_goes_on_as_the_recipes_online_side_says(larix, run, log, place):
    out = place / "runs" / "as said"
    told = larix("online", run, "--log", log[0], "--out", out, "--once", "--set", "batch_size=32")
    assert told.code == 0, told.err
    said = json.loads((out / "config.json").read_text())["online"]
    assert (said["batch_size"], said["span_s"]) == (32, 7200.0)
    before, after = open_tables(run), open_tables(out)
    moved = {}
    for table in ("user", "video"):
        ids = before.keys(table)
        moved[table] = (before.read(table, ids)[0] != after.read(table, ids)[0]).any()
    assert moved == {"user": False, "video": True}, "users are kept still"


def test_it_is_taken_back_to_an_older_version(larix, run, log, place, mistake):
    folder, _ = log
    out = place / "runs" / "back"
    told = larix(
        "online",
        run,
        "--log",
        folder,
        "--out",
        out,
        "--once",
        "--set",
        "batch_size=64",
        "--set",
        "span_s=36000",
    )
    assert told.code == 0, told.err
    first, last = version.versions(out / "versions")
    said = larix("online", run, "--log", folder, "--out", out, "--back-to", first.name)
    assert said.code == 0
    assert f"goes on from {out}" in said.out
    assert version.versions(out / "versions") == [first]
    assert last.name in mistake("online", run, "--log", folder, "--out", out, "--back-to", last.name)


def test_mistakes_are_told_in_a_line(mistake, run, log, place):
    folder, _ = log
    assert "is no run" in mistake("online", place / "nowhere", "--log", folder, "--once")
    assert "no topic 'absent'" in mistake("online", run, "--log", folder, "--samples", "absent")
    assert "idle_s is 0" in mistake("online", run, "--log", folder, "--idle", "0")
    assert "is no event log" in mistake("online", run, "--log", place / "nowhere")


def test_the_recipe_is_that_of_the_run(run):
    _, config = open_run(run)
    assert config["recipe"] == TINY
