import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_feed
import tiny
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from larix import data as files_of
from larix.data import kuairand
from larix.errors import ConfigError, DataError
from larix.recipes.feed import feed, find, split, truth

DAYS = [f"2022-04-{day}" for day in range(25, 31)]  # 25 to 30
HOLES = ["2022-04-25", "2022-04-27", "2022-04-30"]


def quiet():
    return Console(file=io.StringIO(), force_terminal=False)


@pytest.mark.parametrize(
    ("days", "wanted", "found"),
    [
        (DAYS, (None, None, None), ("2022-04-28", "2022-04-29", "2022-04-30")),
        (DAYS[:3], (None, None, None), ("2022-04-25", "2022-04-26", "2022-04-27")),
        (DAYS[:2], (None, None, None), ("2022-04-25", "2022-04-26", "2022-04-26")),
        (DAYS, ("2022-04-27", None, None), ("2022-04-27", "2022-04-28", "2022-04-30")),
        (DAYS, (None, "2022-04-27", None), ("2022-04-26", "2022-04-27", "2022-04-30")),
        (DAYS, (None, None, "2022-04-28"), ("2022-04-26", "2022-04-27", "2022-04-28")),
        (DAYS, ("2022-04-26", None, "2022-04-28"), ("2022-04-26", "2022-04-27", "2022-04-28")),
        (DAYS, ("2022-04-26", "2022-04-29", None), ("2022-04-26", "2022-04-29", "2022-04-30")),
        (DAYS, (None, "2022-04-29", "2022-04-29"), ("2022-04-28", "2022-04-29", "2022-04-29")),
        (DAYS, ("2022-04-26", "2022-04-28", "2022-04-28"), ("2022-04-26", "2022-04-28", "2022-04-28")),
        (DAYS, ("20220426", "2022-04-28", None), ("2022-04-26", "2022-04-28", "2022-04-30")),
        (DAYS, ("2022-01-01", None, None), ("2022-01-01", "2022-04-25", "2022-04-30")),  # only to test on
        (DAYS[:1], ("2022-01-01", None, None), ("2022-01-01", "2022-04-25", "2022-04-25")),
        (HOLES, (None, None, None), ("2022-04-25", "2022-04-27", "2022-04-30")),
        (HOLES, ("2022-04-26", None, None), ("2022-04-26", "2022-04-27", "2022-04-30")),
        (HOLES, (None, "2022-04-29", None), ("2022-04-27", "2022-04-29", "2022-04-30")),
    ],
)
def test_days_not_told_are_found(days, wanted, found):
    assert split(reversed(days), *wanted) == found


@pytest.mark.parametrize(
    ("days", "wanted", "why"),
    [
        (DAYS[:1], (None, None, None), "no day after 2022-04-25 .* the log has 2022-04-25 to 2022-04-25"),
        (DAYS, ("2022-04-30", None, None), "no day after 2022-04-30"),
        (DAYS, (None, "2022-04-25", None), "no day before 2022-04-25 to train on"),
        (DAYS, (None, None, "2022-04-25"), "no day after 2022-04-25 and up to 2022-04-25"),
        (DAYS, ("2022-04-28", "2022-04-28", None), "would test on what was trained on"),
        (DAYS, ("2022-04-28", "2022-04-26", None), "would test on what was trained on"),
        (DAYS, (None, "2022-04-29", "2022-04-28"), "no day from 2022-04-29 to 2022-04-28"),
        (HOLES, (None, "2022-04-28", "2022-04-29"), "no day from 2022-04-28 to 2022-04-29"),
        (DAYS, ("yesterday", None, None), "'yesterday' is not a day; write it as 2022-05-04"),
    ],
)
def test_days_that_leave_a_side_empty_or_overlap_are_refused(days, wanted, why):
    with pytest.raises(ConfigError, match=why):
        split(days, *wanted)


@pytest.mark.parametrize(
    ("days", "gap", "found"),
    [
        (DAYS, 1, ("2022-04-27", "2022-04-29", "2022-04-30")),
        (DAYS, 3, ("2022-04-25", "2022-04-29", "2022-04-30")),
        (DAYS, 9, ("2022-04-25", "2022-04-29", "2022-04-30")),  # one day is left to train on
        (HOLES, 1, ("2022-04-25", "2022-04-27", "2022-04-30")),
    ],
)
def test_days_before_the_test_can_be_left_to_a_replay(days, gap, found):
    assert split(days, None, None, None, gap) == found
    assert split(days, "2022-04-25", None, None, gap)[0] == "2022-04-25"  # what is told is kept to
    with pytest.raises(ConfigError, match="gap is -1"):
        split(days, None, None, None, -1)


@given(
    days=st.sets(st.sampled_from(DAYS), min_size=1),
    wanted=st.tuples(*[st.one_of(st.none(), st.sampled_from(DAYS))] * 3),
)
def test_whatever_is_asked_the_test_comes_after_training_and_has_a_day(days, wanted):
    try:
        found = split(days, *wanted)
    except ConfigError:
        return
    train_to, test_from, test_to = found
    assert train_to < test_from <= test_to
    assert any(test_from <= day <= test_to for day in days)
    assert all(asked in (None, got) for asked, got in zip(wanted, found, strict=True))


def test_the_parts_are_the_days_and_the_card_says_so(place, data):
    made = feed(data, place / "samples", quiet(), train_to="2022-04-26", test_from="2022-04-28")
    dates = [
        {date for batch in part.stream(columns=["date"]) for date in batch["date"].to_pylist()}
        for part in (made.train, made.test)
    ]
    assert dates == [{20220425, 20220426}, {20220428}]
    card = made.about["data"]
    assert card["train"] == {"rows": made.train.rows, "days": ["2022-04-25", "2022-04-26"]}
    assert card["test"] == {"rows": made.test.rows, "days": ["2022-04-28", "2022-04-28"]}
    assert card["days"] == ["2022-04-25", "2022-04-28"]
    assert card["rows"] > made.train.rows + made.test.rows > 0
    assert {"users", "videos", "authors", "repeats_dropped", "rates", "nulls"} <= set(card)
    assert "references" not in made.about  # they are of another log


def test_the_samples_are_written_once(place, data):
    (folder,) = {path.parent for path in feed(data, place / "samples", quiet()).train.paths}
    before = (folder / kuairand.CARD).stat().st_mtime_ns
    feed(data, place / "samples", quiet(), train_to="2022-04-25")
    assert (folder / kuairand.CARD).stat().st_mtime_ns == before


def test_two_folders_of_one_name_have_samples_of_their_own(tmp_path):
    logs = [
        small_feed.write(tmp_path / name / "log", seed, users=30, days=2)
        for name, seed in (("a", 0), ("b", 1))
    ]
    made = [feed(log, tmp_path / "samples", quiet()) for log in logs]
    assert made[0].train.paths[0].parent != made[1].train.paths[0].parent
    assert len(list((tmp_path / "samples").iterdir())) == 2
    assert made[0].train.rows == sum(1 for batch in made[0].train.stream() for _ in range(len(batch)))


def test_the_first_line_says_which_data_it_is(place, data, tmp_path):
    console = quiet()
    assert feed(data, place / "samples", console).simulated
    assert console.file.getvalue().startswith(f"Data: a synthetic feed, simulated from {data}\n")
    real = small_feed.copy(data, tmp_path / "[b]log")
    (real / "synthetic.json").unlink()
    console = quiet()
    made = feed(real, tmp_path / "samples", console)
    assert not made.simulated
    assert (made.about["data"]["name"], made.about["data"]["synthetic"]) == ("KuaiRand", False)
    assert console.file.getvalue().startswith(f"Data: KuaiRand, a real short-video log, from {real}\n")


def test_without_a_log_one_is_simulated_as_asked_and_found_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find(None) is None
    console = quiet()
    sizes = {"users": 40, "items": 50, "new_items": 2, "days": 3, "impressions": 600}
    made = feed(None, tmp_path / "samples", console, simulate=sizes)
    assert console.file.getvalue().startswith("Data: a synthetic feed, simulated in ")
    assert made.simulated
    assert made.about["data"]["users"] <= 40
    assert len({path.name for path in made.train.paths}) == 3
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "samples").rglob("*")}
    feed(None, tmp_path / "samples", quiet(), simulate=sizes)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "samples").rglob("*")} == before
    other = feed(None, tmp_path / "samples", quiet(), simulate=sizes | {"seed": 1})
    assert other.train.rows != made.train.rows


def test_the_slice_beside_the_checkout_is_found(tmp_path, monkeypatch, data):
    (tmp_path / "shared" / "data").mkdir(parents=True)
    (tmp_path / "checkout").mkdir()
    small_feed.copy(data, tmp_path / "shared" / "data" / "kuairand_pure")
    monkeypatch.chdir(tmp_path / "checkout")
    assert find(None) == tmp_path / "shared" / "data" / "kuairand_pure"


def test_a_folder_without_a_log_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no log_standard_"):
        find(tmp_path)
    with pytest.raises(ConfigError, match="is no folder"):
        find(tmp_path / "none")


def test_a_log_that_cannot_be_made_ready_leaves_no_samples(tmp_path, data):
    log = small_feed.change(small_feed.copy(data, tmp_path / "log"), "time_ms", None)
    with pytest.raises(DataError, match="time_ms"):
        feed(log, tmp_path / "samples", quiet())
    assert not list((tmp_path / "samples").glob("log-*"))


def test_the_true_probabilities_rank_better_than_others_and_are_calibrated(place, data, tmp_path):
    made = feed(data, place / "samples", quiet())
    sample = tiny.sample(8, None).fit(made.train.stream())
    true = truth(sample, made.test)["tasks"]
    assert set(true) == {"is_click", "long_view"}  # the regression task has none

    # The same samples, each with the probabilities of another.
    rows = pa.Table.from_batches(list(made.test.stream()))
    order = np.random.default_rng(0).permutation(len(rows))
    for task in true:
        column = f"p_{task}"
        rows = rows.set_column(rows.column_names.index(column), column, rows[column].take(order))
    pq.write_table(rows, tmp_path / "x.parquet")
    noise = truth(sample, files_of.files(tmp_path / "x.parquet"))["tasks"]
    for task in true:
        assert true[task]["auc"] > noise[task]["auc"] + 0.1
        assert true[task]["logloss"] < noise[task]["logloss"]
        assert true[task]["calibration"] == pytest.approx(1, abs=0.1)
        assert noise[task]["auc"] == pytest.approx(0.5, abs=0.06)
