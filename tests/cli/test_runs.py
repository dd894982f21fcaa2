import json
import re
import resource
import shlex
import shutil
import signal
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_feed
from small_feed import TINY

from larix import data
from larix.recipes import open_run, open_tables
from larix.train import version


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def samples(run):
    """The samples that the run was trained and tested on."""
    (folder,) = (run.parent / "samples").glob("feed-*")
    return folder


@pytest.fixture
def broken(feed, place, request):
    """A copy of the feed whose log has another column than it had."""

    def make(column, values):
        folder = small_feed.copy(feed, place / re.sub(r"\W+", "-", request.node.name))
        return small_feed.change(folder, column, values)

    return make


# train


def test_train_leaves_a_whole_run_folder_and_says_where(larix, feed, place):
    folder = place / "runs" / "whole"
    told = larix("train", TINY, "--data", feed, "--out", folder, "--set", "seed=3")
    assert (told.code, told.err) == (0, "")
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "lease",
        "metrics.json",
        "report.html",
        "versions",
    }
    config, metrics = read(folder / "config.json"), read(folder / "metrics.json")
    assert config["recipe"] == TINY
    assert config["arguments"] == {"seed": 3, "data": str(feed)}
    assert config["settings"]["seed"] == 3
    assert metrics["state"] == "finished"
    assert metrics["data"]["train"]["days"] == [small_feed.DAYS[0], small_feed.DAYS[1]]
    assert metrics["data"]["test"]["days"] == [small_feed.DAYS[2], small_feed.DAYS[3]]
    assert len(version.versions(folder / "versions")) == 1
    assert (folder / "report.html").resolve().as_uri() in told.out
    assert "100%" not in told.out  # no bar: this is no terminal


def test_the_curve_on_the_test_days_is_in_the_report(run):
    metrics = read(run / "metrics.json")
    evaluations = metrics["evaluations"]
    assert 5 <= len(evaluations) <= 7
    assert evaluations[-1]["step"] == metrics["steps"][-1]["step"]
    assert evaluations[-1]["tasks"]["is_click"]["auc"] == metrics["test"]["tasks"]["is_click"]["auc"]
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "Ranking of is_click on held-out samples" in report
    assert "nothing is trained, chosen or stopped by it" in report


def test_a_run_is_not_trained_over(mistake, run, feed):
    before = (run / "metrics.json").read_bytes()
    line = mistake("train", TINY, "--data", feed, "--out", run)
    assert line.endswith(f"'{run}' already holds a run; go on with it by --resume, or choose another --out")
    assert (run / "metrics.json").read_bytes() == before


def test_a_run_that_another_process_trains_is_left_alone(process, feed, place):
    folder = place / "runs" / "taken"
    words = ("train", TINY, "--data", feed, "--out", folder, "--set", "epochs=1000")
    first = process(*words)
    until = time.monotonic() + 60
    while not (folder / "metrics.json").exists() and first.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    second = process(*words, "--resume")
    _, err = second.communicate(timeout=60)
    assert second.returncode == 2, err
    assert f"the run '{folder}' is process {first.pid} on " in err
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 130, err


def test_resuming_keeps_the_settings_that_a_run_was_begun_with(larix, feed, place):
    folder = place / "runs" / "resumed"
    begun = larix(
        "train", TINY, "--data", feed, "--out", folder, "--set", "steps=4", "--set", "batch_size=64"
    )
    assert begun.code == 0
    told = larix("train", TINY, "--out", folder, "--resume", "--set", "steps=9")
    assert told.code == 0
    config, metrics = read(folder / "config.json"), read(folder / "metrics.json")
    assert config["arguments"] == {"steps": 9, "batch_size": 64, "data": str(feed)}
    last = metrics["steps"][-1]
    assert last["store"]["rows"] > 0
    assert {name: last[name] for name in last if name != "store"} | {"seconds": 0, "loss": 0} == {
        "step": 9,
        "samples": 9 * 64,
        "seconds": 0,
        "loss": 0,
    }
    assert [entry["step"] for entry in metrics["steps"]][:4] == [1, 2, 3, 4]


def test_resuming_needs_to_know_what(mistake, run, tmp_path):
    assert "--out RUN" in mistake("train", TINY, "--resume")
    assert f"is a run of {TINY}, not of kuairand" in mistake("train", "kuairand", "--resume", "--out", run)


def test_ctrl_c_saves_and_says_how_to_go_on_and_that_works(process, feed, place):
    folder = place / "runs" / "with a space"
    words = ("train", TINY, "--data", feed, "--out", folder, "--set", "epochs=1000", "--set", "save_every=3")
    running = process(*words)
    until = time.monotonic() + 60
    while not version.versions(folder / "versions") and running.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    found = re.fullmatch(r"larix: stopped, and saved; go on by: larix (.*)\n", err)
    assert found, err
    stopped = int(version.versions(folder / "versions")[-1].name.removeprefix("step-"))
    assert read(folder / "metrics.json")["state"] == "interrupted"
    assert f"interrupted after step {stopped}" in (folder / "report.html").read_text(encoding="utf-8")
    assert "Synthetic feed" in (folder / "report.html").read_text(encoding="utf-8")

    on = process(*shlex.split(found[1]), "--set", f"steps={stopped + 5}")
    _, err = on.communicate(timeout=60)
    assert on.returncode == 0, err
    metrics = read(folder / "metrics.json")
    assert metrics["state"] == "finished"
    assert metrics["steps"][-1]["step"] == stopped + 5


def test_a_disk_that_fills_during_a_save_leaves_the_version_before(process, larix, feed, place):
    folder = place / "runs" / "full"
    words = ("train", TINY, "--data", feed, "--out", folder, "--set", "dim=512")
    assert larix(*words, "--set", "steps=3").code == 0
    before = larix("eval", folder).out
    most = 200_000  # bytes: above any file but the rows of the videos

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    assert (folder / "metrics.json").stat().st_size < most / 2
    on = process(*words, "--resume", "--set", "steps=6", preexec_fn=limit)
    _, err = on.communicate(timeout=60)
    assert on.returncode == 2, err
    assert re.fullmatch(r"larix: version '.*step-0000000006' cannot be written: .*untouched\n", err)
    assert [path.name for path in (folder / "versions").iterdir()] == ["step-0000000003"]
    assert larix("eval", folder).out == before


# bad data, bad words


def test_a_damaged_file_is_named_and_what_was_learned_before_it_is_kept(larix, mistake, feed, place):
    folder = place / "runs" / "damaged"
    own = small_feed.copy(feed, place / "own")
    assert larix("train", TINY, "--data", own, "--out", folder, "--set", "steps=2").code == 0
    (samples,) = (place / "runs" / "samples").glob("own-*")
    path = samples / f"{small_feed.DAYS[1]}.parquet"
    small_feed.damage(path)
    line = mistake("train", TINY, "--out", folder, "--resume", "--set", "steps=0")
    assert f"'{path}' cannot be read as Parquet" in line
    assert open_tables(folder).rows("user")
    assert f"'{path}'" in mistake("predict", path, "-o", place / "x.parquet", "--run", folder)
    assert not (place / "x.parquet").exists()


def test_a_cut_off_log_is_named(mistake, feed, place):
    own = small_feed.copy(feed, place / "cut")
    path = small_feed.log_of(own)
    path.write_bytes(path.read_bytes()[:-500])
    line = mistake("train", TINY, "--data", own, "--out", place / "runs" / "cut")
    assert f"'{path}' cannot be read" in line
    assert not (place / "runs" / "cut").exists()


def test_a_missing_column_is_named_with_those_there_are(mistake, broken, place):
    line = mistake("train", TINY, "--data", broken("long_view", None), "--out", place / "runs" / "without")
    assert "no column 'long_view'" in line
    assert "is_click" in line


@pytest.mark.parametrize(
    ("column", "value", "words", "why"),
    [
        ("is_click", 7, (), "a binary label must be 0, 1 or null"),
        ("weight", float("nan"), ("--set", "weight=weight"), "a weight must be a finite number"),
    ],
)
def test_a_bad_value_is_named_and_the_steps_before_it_are_saved(
    mistake, larix, broken, place, column, value, words, why
):
    def values(old):
        fresh = [1 if each is None else each for each in old]
        fresh[700] = value
        return fresh

    folder = place / "runs" / f"bad-{column}"
    line = mistake("train", TINY, "--data", broken(column, values), "--out", folder, *words)
    assert f"'{column}'" in line
    assert why in line
    kept, row = re.search(r"row (\d+) is .* are in '(.*)', counted from 0$", line).group(2, 1)
    assert kept == str(folder / "failed-rows.parquet")
    np.testing.assert_equal(pq.read_table(kept)[column][int(row)].as_py(), value)
    assert [path.name for path in version.versions(folder / "versions")] == [
        "step-0000000005"
    ]  # 5 * 128 rows
    assert len(read(folder / "metrics.json")["steps"]) == 5
    assert "not finished" in (folder / "report.html").read_text(encoding="utf-8")
    assert larix("table", "info", folder).code == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("train", "nothing"), "there is no recipe 'nothing'; the built-in ones are ['kuairand']"),
        (("train", "none.py:f"), "recipe file 'none.py' does not exist"),
        (("train", TINY, "--set", "help="), "no setting 'help'; it has data=None, train_to=None,"),
        (("train", TINY, "--set", "epochs"), "--set epochs is not of the form key=value"),
        (("train", TINY, "--set", "epochs=two"), "'epochs' is int, got 'two'"),
        (("train", TINY, "--set", "epochs=0"), "Settings.epochs is 0"),
        (("train", TINY, "--set", "lr=-1"), "Invalid learning rate: -1"),
        (("train", TINY, "--data", "none"), "none' is no folder"),
        (("train", TINY, "--set", "test_from=2022-13-01"), "'2022-13-01' is not a day"),
        (("demo", "--set", "no=1"), "the recipe has no setting 'no'"),
        (("eval", "none"), "'none/config.json' cannot be read"),
        (("predict", "x.parquet", "-o", "y.parquet"), "there is no run below 'runs'"),
        (("predict", "x.parquet", "-o", "y.parquet", "--run", "none"), "'none/config.json' cannot be read"),
    ],
)
def test_wrong_words_are_told_with_the_way_out_and_make_nothing(mistake, words, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert why in mistake(*words)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name == "config.json"]


def test_a_run_folder_that_cannot_be_made_is_told(mistake, feed, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    assert "file" in mistake("train", TINY, "--data", feed, "--out", tmp_path / "file" / "run")


# eval


def test_eval_says_run_data_and_days_and_measures_what_training_measured(larix, run, feed):
    told = larix("eval", run)
    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    assert lines[0] == f"Run: {run}"
    assert lines[1] == f"Data: a synthetic feed, simulated from {feed}"
    assert any(re.fullmatch(r"test [\d,]+ impressions of 27 – 28 Apr 2022", line.strip()) for line in lines)
    auc = read(run / "metrics.json")["test"]["tasks"]["is_click"]["auc"]
    (row,) = [line.split() for line in lines if line.startswith("is_click")]
    assert row[1] == f"{auc:.4f}"
    assert max(len(line) for line in lines[3:]) <= 80


def test_eval_on_one_day_counts_that_day_only(larix, run, samples):
    told = larix("eval", run, "--from", small_feed.DAYS[3])
    rows = pq.read_metadata(samples / f"{small_feed.DAYS[3]}.parquet").num_rows
    assert f"test {rows:,} impressions of 28 Apr 2022" in told.out
    assert larix("eval", run, "--to", small_feed.DAYS[2]).out != told.out


def test_eval_on_another_log_measures_the_days_after_training(larix, run, place):
    other = small_feed.write(place / "other", seed=1, days=6)
    before = (run / "metrics.json").read_bytes()
    told = larix("eval", run, "--data", other)
    assert f"from {other}" in told.out
    assert "impressions of 27 – 30 Apr 2022" in told.out
    assert (run / "metrics.json").read_bytes() == before


def test_eval_refuses_days_that_were_trained_on_or_are_not_there(mistake, run):
    assert "test on what was trained on" in mistake("eval", run, "--from", small_feed.DAYS[1])
    assert "no day from 2023-01-01" in mistake("eval", run, "--from", "2023-01-01", "--to", "2023-01-02")


# predict


def test_predict_writes_a_probability_a_task_for_every_sample_in_order(larix, run, samples, tmp_path):
    file = samples / f"{small_feed.DAYS[2]}.parquet"
    told = larix("predict", file, "-o", tmp_path / "scores.parquet", "--run", run)
    asked, got = pq.read_table(file), pq.read_table(tmp_path / "scores.parquet")
    assert told.out == f"{len(asked):,} predictions by {run} in {tmp_path / 'scores.parquet'}\n"
    for key in ("user_id", "tab", "time_ms"):
        assert got[key].to_pylist() == asked[key].to_pylist()
    for task in ("is_click", "long_view"):
        chances = got[task].to_numpy()
        assert ((chances > 0) & (chances < 1)).all()
        assert chances.std() > 0.001
    assert (got["play_time_ms"].to_numpy() >= 0).all()
    opened, _ = open_run(run)
    np.testing.assert_array_equal(got["is_click"], opened.predict(data.files(file))["is_click"])


def test_predict_needs_no_labels_and_takes_the_newest_run(larix, run, samples, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    table = pq.read_table(samples / f"{small_feed.DAYS[2]}.parquet")
    pq.write_table(table.drop_columns(["is_click", "long_view", "play_time_ms"]).slice(0, 7), "asked.parquet")
    told = larix("predict", "asked.parquet", "-o", "scores.parquet")
    assert told.out == "7 predictions by runs/mine in scores.parquet\n"


def test_predict_names_what_it_cannot_read_or_write(mistake, run, samples, tmp_path):
    out = tmp_path / "scores.parquet"
    assert "no file matches" in mistake("predict", tmp_path / "none.parquet", "-o", out, "--run", run)
    pq.write_table(pa.table({"user_id": [1]}), tmp_path / "asked.parquet")
    assert "has no column 'video_id'" in mistake(
        "predict", tmp_path / "asked.parquet", "-o", out, "--run", run
    )
    file = samples / f"{small_feed.DAYS[2]}.parquet"
    below = tmp_path / "asked.parquet" / "scores.parquet"
    assert f"'{below}' cannot be written" in mistake("predict", file, "-o", below, "--run", run)
    assert not out.exists()


# demo


def test_demo_says_first_what_data_it_is_reports_the_true_auc_and_replays_the_days_after(larix, feed, place):
    folder = place / "runs" / "demo"
    words = ("--set", "epochs=1", "--set", "batch_size=512", "--speed", "max")
    told = larix("demo", "--data", feed, *words, "--out", folder)
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[0] == f"Data: a synthetic feed, simulated from {feed}"
    truth = read(folder / "metrics.json")["truth"]["tasks"]["is_click"]["auc"]
    assert 0.65 < truth < 0.9
    assert f"{truth:.4f}" in (folder / "report.html").read_text(encoding="utf-8")
    assert f"{truth:.4f}" in told.out
    metrics = read(folder / "metrics.json")
    trained, tested = (metrics["data"][part]["days"] for part in ("train", "test"))
    online = metrics["online"]
    assert (online["trained_to"], online["measured"]) == (trained[1], tested)
    assert online["total"]["samples"] == metrics["test"]["samples"]  # the same samples
    for task, figures in metrics["test"]["tasks"].items():  # and the frozen model is the one that was tested
        if figures["kind"] == "binary":
            assert online["total"]["frozen"][task]["auc"] == pytest.approx(figures["auc"], abs=1e-4)
    assert f"{online['total']['online']['is_click']['auc']:.4f}" in told.out
    assert (
        max(len(line) for line in told.out.splitlines() if "://" not in line and str(place) not in line) <= 80
    )
