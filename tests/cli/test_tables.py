import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import small_feed

from larix.embedding import Tables
from larix.embedding.budget import shown
from larix.embedding.plan import plan as planned
from larix.embedding.plan import read_tables
from larix.features import parse_id
from larix.recipes import open_tables


def test_info_lists_every_table_with_its_rows_dim_optimizer_and_bytes(larix, run):
    told = larix("table", "info", run)
    assert told.code == 0
    tables = open_tables(run)
    lines = {line.split()[0]: line.split()[1:] for line in told.out.splitlines() if line.strip()}
    for name, spec in tables.specs.items():
        rows = tables.rows(name)
        assert lines[name] == ["RowAdagrad", f"{rows:,}", str(spec.dim), f"{rows * (spec.dim + 1) * 4:,}"]
    assert f"{tables.stats().rows:,} rows in " in told.out
    assert max(map(len, told.out.splitlines())) <= 80


def test_get_prints_rows_and_says_where_there_is_none(larix, run):
    tables = open_tables(run)
    known = int(tables.keys("user")[0])
    weights, _ = tables.read("user", np.array([known]))
    told = larix("table", "get", run, "user", known, 2**40, "--", -7)
    assert told.code == 0
    for weight in weights[0]:
        assert f"{weight:+.4f}" in told.out
    assert told.out.count("no row") == 2


def test_get_finds_text_as_columns_of_text_are_kept(larix, run):
    word = "high_active"
    weights, _ = open_tables(run).read("active", np.array([parse_id(word)]))
    assert weights.any()
    assert f"{weights[0, 0]:+.4f}" in larix("table", "get", run, "active", word).out


def test_export_writes_the_table_by_rising_id(larix, run, tmp_path):
    told = larix("table", "export", run, "video", "-o", tmp_path / "video.parquet")
    assert told.code == 0
    ids, weights, state = open_tables(run).items("video")
    assert f"{len(ids):,} rows of table 'video' in {tmp_path / 'video.parquet'}" in told.out
    written = pq.read_table(tmp_path / "video.parquet")
    np.testing.assert_array_equal(written["id"].to_numpy(), ids)
    np.testing.assert_array_equal(np.stack(written["weights"].to_pylist()), weights)
    np.testing.assert_array_equal(np.stack(written["state"].to_pylist()), state)


def test_export_writes_safetensors_that_a_store_loads(larix, run, tmp_path):
    told = larix("table", "export", run, "video", "--safetensors", "-o", tmp_path / "video")
    assert told.code == 0
    loaded, tables = Tables.load(tmp_path / "video"), open_tables(run)
    assert f"{loaded.rows('video'):,} rows of table 'video' in {tmp_path / 'video'}" in told.out
    for left, right in zip(loaded.items("video"), tables.items("video"), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("words", [("get", "17"), ("export", "-o", "out.parquet")])
def test_a_table_that_is_not_there_is_told_with_those_that_are(mistake, run, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = mistake("table", words[0], run, "nobody", *words[1:])
    assert "'nobody'" in line
    assert "video" in line
    assert not list(tmp_path.iterdir())


def test_an_id_of_more_than_64_bits_is_told(mistake, run):
    assert f"id {2**64} has more than 64 bits" in mistake("table", "get", run, "user", 2**64)


def test_a_folder_that_is_no_run_is_told(mistake, tmp_path):
    for words in (("info",), ("get", "user", "1"), ("export", "user", "-o", tmp_path / "x.parquet")):
        line = mistake("table", words[0], tmp_path, *words[1:])
        assert f"'{tmp_path}' has no version" in line


def test_an_export_that_cannot_be_written_leaves_nothing_behind(mistake, run, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    line = mistake("table", "export", run, "user", "-o", tmp_path / "file" / "x.parquet")
    assert "cannot be written" in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_damaged_table_is_named(mistake, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (path,) = (tmp_path / "run").glob("versions/*/tables/*-video.0000.safetensors")
    small_feed.damage(path)
    assert f"{path}' is damaged" in mistake("table", "info", tmp_path / "run")


def test_plan_predicts_bytes_and_the_rows_that_fit_a_budget(larix):
    told = larix("table", "plan", "user=1Mx16", "video=200kx32", "--optimizer", "Adam", "--budget", "64MiB")
    assert told.code == 0
    found = planned(read_tables(["user=1Mx16", "video=200kx32"], optimizer="Adam"), "64MiB")
    for line in found.lines:
        assert f"{line.spec.name} " in told.out
        assert f"{line.rows:,} " in told.out
    assert f"1,200,000 ids need {shown(found.needed)} ({found.needed:,} bytes)" in told.out
    rows = sum(line.rows for line in found.lines)
    assert f"in 64 MiB: {rows:,} rows fit, {rows / 1_200_000:.1%} of the ids" in told.out
    assert "all fit" in larix("table", "plan", "5x8", "--budget", "1GiB").out
    assert max(map(len, told.out.splitlines())) <= 80


def test_plan_counts_sketches_and_keeps_what_it_is_told_to(larix, mistake):
    assert "admission sketches: 4 MiB" in larix("table", "plan", "5x8", "6x8", "--admit-at", 2).out
    assert "tables without an eviction policy take" in mistake(
        *("table", "plan", "user=1Mx16", "--keep", "user", "--budget", "1MiB")
    )
