import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_feed

from larix.data import kuairand


@pytest.fixture
def rows(tmp_path):
    """Ten rows as JSON lines."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"user_id": n, "word": f"w{n}"}) + "\n" for n in range(10)))
    return path


def test_convert_writes_every_record_in_order(larix, rows, tmp_path):
    out = tmp_path / "rows.parquet"
    told = larix("data", "convert", rows, rows, "-o", out)
    assert told.code == 0
    assert told.out == f"20 rows in {out}\n"  # and no bar: this is no terminal
    assert pq.read_table(out)["user_id"].to_pylist() == [*range(10), *range(10)]


def test_on_a_terminal_converting_ends_at_100_percent(larix, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "100%" in larix("data", "convert", rows, "-o", tmp_path / "rows.parquet").out


def test_a_record_that_does_not_fit_leaves_what_was_there(mistake, rows, tmp_path):
    out = tmp_path / "rows.parquet"
    out.write_bytes(b"what was there")
    rows.write_text(rows.read_text() + '{"user_id": "text"}\n')
    assert "record 11 of" in mistake("data", "convert", rows, "-o", out)
    assert out.read_bytes() == b"what was there"
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl", "rows.parquet"}


@pytest.mark.parametrize(
    ("name", "why"), [("none.csv", "is not there"), ("rows.xyz", "cannot be told by its name")]
)
def test_files_that_cannot_be_converted_are_named(mistake, tmp_path, name, why):
    line = mistake("data", "convert", tmp_path / name, "-o", tmp_path / "out.parquet")
    assert why in line
    assert name in line


def test_a_kind_and_types_that_names_and_values_do_not_tell_are_told(larix, mistake, tmp_path):
    orders, out = tmp_path / "orders.txt", tmp_path / "orders.parquet"
    orders.write_text("zip,at\n01234,1650844800000\n98765,1650844800001\n")
    assert "say its kind: tfrecord, csv, json" in mistake("data", "convert", orders, "-o", out)
    words = ("data", "convert", orders, "--kind", "csv", "-o", out)
    assert larix(*words, "--type", "zip=string", "--type", "at=double").code == 0
    got = pq.read_table(out)
    assert got["zip"].to_pylist() == ["01234", "98765"]
    assert got.schema.field("at").type == pa.float64()
    assert larix(*words).code == 0
    assert pq.read_table(out)["zip"].to_pylist() == [1234, 98765]
    assert "kind 'xml' is not known; it is one of" in mistake(*words[:3], "--kind", "xml", "-o", out)
    for wrong in ("zip", "zip=text", "=string", "zip="):
        assert f"--type {wrong} is not COLUMN=TYPE" in mistake(*words, "--type", wrong)
    assert "no record has it; there are zip, at" in mistake(*words, "--type", "nope=string")


def test_an_output_that_cannot_be_written_is_told(mistake, rows, feed):
    below = rows / "out"  # below a file
    for words in (("convert", rows, "-o", below), ("prepare", feed, "-o", below), ("simulate", "-o", below)):
        assert f"'{below}'" in mistake("data", *words)


def test_prepare_makes_a_file_a_day_and_says_how_many_samples(larix, feed, tmp_path):
    told = larix("data", "prepare", feed, "-o", tmp_path / "samples")
    card = kuairand.card(tmp_path / "samples")
    assert told.out.startswith(f"{card['rows']:,} samples in {len(small_feed.DAYS)} files, one a day, in ")
    assert sorted(card["days"]) == list(small_feed.DAYS)
    assert "repeats dropped: 0" in told.out


def test_prepare_names_a_damaged_file_and_a_missing_column(mistake, feed, tmp_path):
    damaged, without = (small_feed.copy(feed, tmp_path / name) for name in ("damaged", "without"))
    path = small_feed.damage(small_feed.log_of(damaged))
    assert f"'{path}' cannot be read" in mistake("data", "prepare", damaged, "-o", tmp_path / "out")
    small_feed.change(without, "video_id", None)
    line = mistake("data", "prepare", without, "-o", tmp_path / "out")
    assert f"'{small_feed.log_of(without)}' has no column 'video_id'" in line
    assert not (tmp_path / "out").exists()


def test_simulate_makes_a_feed_that_a_demo_can_run_on(larix, tmp_path):
    out = tmp_path / "feed"
    told = larix("data", "simulate", "-o", out, "--users", 20, "--days", 2, "--impressions", 100, "--seed", 3)
    assert told.code == 0
    assert f"larix demo --data {out}" in told.out
    assert len(pq.read_table(small_feed.log_of(out))) > 50
    assert json.loads((out / "synthetic.json").read_text())["seed"] == 3


def test_simulating_nobody_is_refused(mistake, tmp_path):
    assert "users must be at least 1, got 0" in mistake(
        "data", "simulate", "-o", tmp_path / "x", "--users", 0
    )


def test_info_says_rows_columns_and_types(larix, tmp_path):
    pq.write_table(pa.table({"user_id": [1, 2], "[red]tag": [[1], [2, 3]]}), tmp_path / "x.parquet")
    told = larix("data", "info", tmp_path)
    assert told.code == 0
    assert "2 rows in 1 file\n" in told.out
    lines = [line.split() for line in told.out.splitlines()]
    assert ["user_id", "int64"] in lines
    assert any(line[:1] == ["[red]tag"] for line in lines)


def test_info_of_a_damaged_file_names_it(mistake, tmp_path):
    pq.write_table(pa.table({"user_id": [1, 2]}), tmp_path / "x.parquet")
    content = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(content[: len(content) // 2])
    assert f"'{tmp_path / 'x.parquet'}' cannot be read as Parquet" in mistake("data", "info", tmp_path)
