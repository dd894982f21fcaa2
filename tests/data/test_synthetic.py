import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from larix.data import kuairand, synthetic
from larix.errors import ConfigError

SMALL = {"users": 800, "items": 600, "new_items": 30, "days": 4, "impressions": 40_000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("synthetic") / "feed", **SMALL)


@pytest.fixture(scope="module")
def log(folder):
    return pq.read_table(folder / "log_standard_2022-04-25_04-28.parquet")


def column(table, name):
    return table[name].to_numpy()


def test_the_same_arguments_give_the_same_bytes_and_others_do_not(folder, tmp_path):
    again = synthetic.write(tmp_path / "again", **SMALL)
    other = synthetic.write(tmp_path / "other", **SMALL, seed=1)
    for path in folder.glob("*.parquet"):
        assert (again / path.name).read_bytes() == path.read_bytes()
        assert (other / path.name).read_bytes() != path.read_bytes()
    assert json.loads((other / "synthetic.json").read_text())["seed"] == 1


def test_a_feed_that_is_there_is_kept_and_another_one_replaces_it(tmp_path):
    few = SMALL | {"impressions": 500}
    folder = synthetic.write(tmp_path / "feed", **few)
    made = (folder / "user_features.parquet").stat().st_mtime_ns
    synthetic.write(folder, **few)
    assert (folder / "user_features.parquet").stat().st_mtime_ns == made
    synthetic.write(folder, **few, first_day="2023-01-01")
    assert [path.name for path in folder.glob("log_*")] == ["log_standard_2023-01-01_01-04.parquet"]


def test_rates_are_those_stated_and_the_probabilities_are_true(log):
    for name, rate in synthetic.RATES.items():
        label, p = column(log, name), column(log, f"p_{name}")
        assert p.mean() == pytest.approx(rate, rel=0.05)
        for part in np.array_split(np.argsort(p), 10):  # in each tenth, as many as the probabilities say
            error = np.sqrt((p[part] * (1 - p[part])).sum())
            assert abs(label[part].sum() - p[part].sum()) < 4.5 * error + 0.5


def test_labels_hang_together_as_the_model_says(log):
    click, long_view = column(log, "is_click"), column(log, "long_view")
    for name in ("is_like", "is_follow", "is_comment", "is_forward", "is_profile_enter"):
        assert (column(log, name) <= click).all()
    known = column(log, "duration_ms") > 0
    needed = np.minimum(column(log, "duration_ms"), 18_000)
    assert (long_view == (column(log, "play_time_ms") >= needed))[known].all()


def test_there_is_something_to_learn_and_a_ceiling_to_it(log):
    for name in ("is_click", "long_view", "is_like", "is_profile_enter"):
        assert 0.74 < roc_auc_score(column(log, name), column(log, f"p_{name}")) < 0.9


def test_the_same_topic_again_is_clicked_less(folder, log):
    """Of two impressions of a user in a row with one topic, the second differs by fatigue on average."""
    tags = pq.read_table(folder / "video_features_basic.parquet")["tag"].to_pylist()
    topic = np.array([-1 if tag is None else int(tag.split(",")[0]) for tag in tags])[column(log, "video_id")]
    user = column(log, "user_id")
    order = np.argsort(user, kind="stable")
    same = (user[order][1:] == user[order][:-1]) & (topic[order][1:] == topic[order][:-1])
    p = column(log, "p_is_click")[order]
    logit = np.log(p / (1 - p))
    assert (logit[1:] - logit[:-1])[same].mean() < -0.1


def test_nobody_is_shown_a_video_before_it_is_there(folder, log):
    uploaded = pq.read_table(folder / "video_features_basic.parquet")["upload_dt"].to_pylist()
    uploaded = np.array([int(day.replace("-", "")) for day in uploaded])[column(log, "video_id")]
    assert (uploaded <= column(log, "date")).all()
    assert (uploaded == column(log, "date")).sum() > 100  # new ones are shown on their first day


def test_each_impression_begins_after_the_one_before_was_played(log):
    time, user = column(log, "time_ms"), column(log, "user_id")
    assert (np.diff(time) >= 0).all()
    order = np.argsort(user, kind="stable")
    same = np.diff(user[order]) == 0
    assert (np.diff(time[order]) > column(log, "play_time_ms")[order][:-1])[same].all()


def test_days_and_hours_are_those_of_the_time_in_utc_plus_8(log):
    local = (column(log, "time_ms") + 8 * 3_600_000).astype("datetime64[ms]")
    assert (
        np.char.replace(local.astype("datetime64[D]").astype(str), "-", "").astype(int) == column(log, "date")
    ).all()
    assert (
        (local - local.astype("datetime64[D]")).astype(int) // 3_600_000 * 100 == column(log, "hourmin")
    ).all()
    assert np.unique(column(log, "date")).tolist() == [20220425, 20220426, 20220427, 20220428]


def test_sequences_are_from_before_the_log(folder, log):
    sequences = pq.read_table(folder / "user_sequences.parquet")
    assert column(sequences, "last_time_ms").max() < column(log, "time_ms").min()
    rows = sequences.to_pylist()
    assert max(len(row["watch_seq"]) for row in rows) == 50
    for row in rows:
        assert len(row["watch_seq"]) == min(50, row["history_len"])
        if row["history_len"] <= 50:
            assert set(row["like_seq"]) | set(row["long_watch_seq"]) <= set(row["watch_seq"])


def test_it_is_prepared_like_kuairand_with_its_probabilities(folder, log, tmp_path):
    source = kuairand.prepare(folder, tmp_path / "out")
    assert source.rows == len(log)
    first = next(source.stream(columns=["p_is_click", "is_click", "video_age_days", "past_watched"]))
    assert 0 < first["p_is_click"][0].as_py() < 1
    assert min(first["video_age_days"].to_pylist()) >= 0
    assert any(first["past_watched"].to_pylist())


@pytest.mark.parametrize(
    "tiny", [{"users": 1}, {"items": 1, "new_items": 0}, {"days": 1}, {"impressions": 1}]
)
def test_the_smallest_feeds_can_be_written(tmp_path, tiny):
    folder = synthetic.write(
        tmp_path / "feed", **{"users": 5, "items": 5, "days": 2, "impressions": 50} | tiny
    )
    assert len(list(folder.glob("*.parquet"))) == 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"users": 0}, "users must be at least 1"),
        ({"seed": -1}, "must not be negative"),
        ({"new_items": -1}, "-1"),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path, wrong, message):
    with pytest.raises(ConfigError, match=message):
        synthetic.write(tmp_path / "feed", **wrong)
