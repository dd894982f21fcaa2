import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_kuairand import LABELS, START, log_of, random_log, tags_of, write_folder

from larix.data import kuairand
from larix.errors import ConfigError, DataError

HISTORY = {
    "hist_video_id": lambda row: row["video_id"],
    "hist_author_id": lambda row: author_of(row["video_id"]),
    "hist_tag": lambda row: first_tag_of(row["video_id"]),
    "hist_click": lambda row: row["is_click"],
    "hist_long_view": lambda row: row["long_view"],
    "hist_like": lambda row: row["is_like"],
    "hist_play_ms": lambda row: row["play_time_ms"],
    "hist_duration_ms": lambda row: row["duration_ms"],
    "hist_time_ms": lambda row: row["time_ms"],
    "hist_tab": lambda row: row["tab"],
}
COUNTED = {"clicked": "is_click", "long_viewed": "long_view", "liked": "is_like"}
OF_THE_PAST = [*HISTORY, *(f"{o}_{w}" for o in ("user", "video", "author") for w in ("shown", *COUNTED))]


def author_of(video):
    return 1000 + video % 3 if video < 7 else None


def first_tag_of(video):
    return None if video >= 7 else (tags_of(video) or [-1])[0]


def prepared(folder, out, **options):
    source = kuairand.prepare(folder, out, **options)
    return pa.Table.from_batches(source.batches(), source.schema)


def expected(log, newest):
    """Samples by their definition, row against row."""
    kept, seen = [], set()
    for row in log.to_pylist():
        mark = (row["user_id"], row["video_id"], row["time_ms"])
        if mark not in seen:
            seen.add(mark)
            kept.append(row)
    kept.sort(key=lambda row: row["time_ms"])
    made = []
    for row in kept:
        earlier = [other for other in kept if other["time_ms"] < row["time_ms"]]
        mine = [other for other in earlier if other["user_id"] == row["user_id"]]
        author = author_of(row["video_id"])
        pasts = {
            "user": mine,
            "video": [other for other in earlier if other["video_id"] == row["video_id"]],
            "author": [o for o in earlier if author is not None and author_of(o["video_id"]) == author],
        }
        sample = dict(row) | {name: [of(other) for other in mine[-newest:]] for name, of in HISTORY.items()}
        for owner, rows in pasts.items():
            sample[f"{owner}_shown"] = len(rows)
            for what, column in COUNTED.items():
                sample[f"{owner}_{what}"] = sum(other[column] for other in rows)
        made.append(sample)
    return made


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 50), st.integers(1, 6), st.integers(1, 4))
def test_samples_are_what_the_definition_says(seed, rows, newest, times):
    log = random_log(np.random.default_rng(seed), rows, users=3, times=times * 8)
    with tempfile.TemporaryDirectory() as place:
        folder = write_folder(Path(place) / "in", log)
        got = prepared(folder, Path(place) / "out", newest=newest)
        want = expected(log, newest)
        assert got.select([*log.column_names, *OF_THE_PAST]).to_pylist() == want


def test_labels_of_the_present_and_the_future_reach_no_sample(tmp_path):
    """Whatever becomes of the log from a moment on, samples up to that moment know the same past."""
    rng = np.random.default_rng(1)
    log = random_log(rng, 600)
    before = prepared(write_folder(tmp_path / "in", log), tmp_path / "out").select(
        ["user_id", "time_ms", *OF_THE_PAST]
    )
    for moment in START + 3_600_000 * np.array([0, 1, 7, 20, 39]):
        late = log["time_ms"].to_numpy() >= moment
        altered = log
        for name in (*LABELS, "play_time_ms", "duration_ms", "tab"):
            values = log[name].to_numpy().copy()
            values[late] = 1 - values[late] if name in LABELS else rng.permutation(values[late]) + 1
            altered = altered.set_column(altered.column_names.index(name), name, pa.array(values))
        for name, changed in (
            ("altered", altered),
            ("gone", log.filter(pa.array(log["time_ms"].to_numpy() <= moment))),
        ):
            place = tmp_path / f"{name}{moment}"
            after = prepared(write_folder(place / "in", changed), place / "out").select(before.column_names)
            assert up_to(after, moment).equals(up_to(before, moment))
        # The same change does reach the samples after it, or this test could not fail.
        if late.any() and (log["time_ms"].to_numpy() > moment).any():
            after = prepared(
                write_folder(tmp_path / f"altered{moment}" / "in", altered), tmp_path / f"again{moment}"
            )
            assert not after.select(before.column_names).equals(before)


def up_to(table, moment):
    return table.filter(pa.array(table["time_ms"].to_numpy() <= moment))


def test_csv_as_published_and_parquet_give_the_same_samples(folder_of, tmp_path):
    log = random_log(np.random.default_rng(2), 300)
    from_parquet = prepared(folder_of(log), tmp_path / "a")
    from_csv = prepared(folder_of(log, "csv", csv=True), tmp_path / "b")
    assert from_csv.schema == from_parquet.schema
    assert from_csv.equals(from_parquet)


def test_users_and_videos_are_joined_and_unknown_ones_are_null(folder_of, tmp_path):
    log = log_of([{"user_id": 3, "video_id": 6}, {"user_id": 4, "video_id": 7, "time_ms": START + 1}])
    known, unknown = prepared(folder_of(log), tmp_path / "out").to_pylist()
    assert (known["user_active_degree"], known["follow_user_num"], known["onehot_feat4"]) == ("degree0", 6, 3)
    assert (known["author_id"], known["tag"], known["video_duration"]) == (1000, [60, 61], 6)
    assert known["video_age_days"] == 18  # from 2022-04-07 to 2022-04-25
    assert unknown["onehot_feat4"] is None
    assert unknown["author_id"] is unknown["tag"] is unknown["video_age_days"] is None
    assert unknown["author_shown"] == 0


def test_behaviour_from_before_the_log_is_empty_where_it_is_not_older(folder_of, tmp_path):
    sequences = pa.table(
        {
            "user_id": [1, 2],
            "last_time_ms": [START - 1, START + 5],
            "watch_seq": [[7, 7, 8], [9]],
            "like_seq": [[], [9]],
            "long_watch_seq": [[8], [9]],
        }
    )
    log = log_of([{"user_id": user, "time_ms": START + at} for at, user in ((0, 1), (1, 3), (5, 2), (6, 2))])
    got = prepared(folder_of(log, sequences=sequences), tmp_path / "out")
    assert got["past_watched"].to_pylist() == [[7, 7, 8], [], [], [9]]
    assert got["past_liked"].to_pylist() == [[], [], [], [9]]
    assert got["past_long_viewed"].to_pylist() == [[8], [], [], [9]]
    assert got["past_watched_long_viewed"].to_pylist() == [[0, 0, 1], [], [], [1]]
    assert got["past_watched_liked"].to_pylist() == [[0, 0, 0], [], [], [1]]


def test_a_file_a_day_by_the_date_column_and_a_card(folder_of, tmp_path):
    late = {"user_id": 1, "video_id": 1, "date": 20220426, "time_ms": START - 60_000, "is_click": 1}
    log = log_of([{"user_id": 1, "video_id": 2}, {"user_id": 1, "video_id": 2}, late])
    seen = []
    source = kuairand.prepare(folder_of(log), tmp_path / "out", progress=lambda *done: seen.append(done))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "2022-04-25.parquet", "2022-04-26.parquet", "card.json",
    ]  # fmt: skip
    assert seen == [(1, 2), (2, 2)]
    # Days are those of `date`, though this one's `time_ms` is still of the day before in UTC+8.
    assert source.between("2022-04-26", "2022-04-26").rows == 1
    card = kuairand.card(tmp_path / "out")
    assert card["rows"] == 2
    assert card["days"] == {"2022-04-25": 1, "2022-04-26": 1}
    assert card["repeats_dropped"] == 1
    assert (card["users"], card["videos"], card["authors"]) == (1, 2, 2)
    assert card["rates"]["is_click"] == 0.5
    assert card["nulls"] == {}


def test_a_prepared_folder_is_used_again_until_its_inputs_change(folder_of, tmp_path):
    folder, out = folder_of(log_of([{"user_id": 1}])), tmp_path / "out"
    kuairand.prepare(folder, out)
    made = (out / "card.json").stat().st_mtime_ns
    kuairand.prepare(folder, out)
    assert (out / "card.json").stat().st_mtime_ns == made
    kuairand.prepare(folder, out, newest=3)
    assert (out / "card.json").stat().st_mtime_ns != made
    (out / "2022-04-25.parquet").unlink()
    assert kuairand.prepare(folder, out, newest=3).rows == 1
    folder_of(log_of([{"user_id": 1}, {"user_id": 2}]))
    assert kuairand.prepare(folder, out, newest=3).rows == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_of_something_else_is_not_overwritten(folder_of, tmp_path):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something else"):
        kuairand.prepare(folder_of(log_of([{"user_id": 1}])), out)
    assert (out / "chapter1.txt").read_text() == "years of work"


def test_a_failure_leaves_the_folder_prepared_before(folder_of, tmp_path):
    folder, out = folder_of(log_of([{"user_id": 1}])), tmp_path / "out"
    kuairand.prepare(folder, out)
    card = (out / "card.json").read_text()

    def fail(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kuairand.prepare(folder, out, newest=2, progress=fail)
    assert (out / "card.json").read_text() == card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "published"]


def test_the_random_log_is_read_only_when_asked_for(folder_of, tmp_path):
    folder = folder_of(log_of([{"user_id": 1}]))
    with pytest.raises(DataError, match="leave out random=True"):
        kuairand.prepare(folder, tmp_path / "out", random=True)
    pq.write_table(
        log_of([{"user_id": 1, "video_id": 5, "time_ms": START + 1}]), folder / "log_random_x.parquet"
    )
    assert kuairand.prepare(folder, tmp_path / "out").rows == 1
    assert kuairand.prepare(folder, tmp_path / "out", random=True).rows == 2


def test_a_damaged_card_names_itself(folder_of, tmp_path):
    folder, out = folder_of(log_of([{"user_id": 1}])), tmp_path / "out"
    kuairand.prepare(folder, out)
    (out / "card.json").write_text(json.dumps([1])[:-1])
    with pytest.raises(DataError, match=r"card\.json' is not a data card"):
        kuairand.prepare(folder, out)


def test_newest_must_be_positive(folder_of, tmp_path):
    with pytest.raises(ConfigError, match="newest must be at least 1, got 0"):
        kuairand.prepare(tmp_path, tmp_path / "out", newest=0)


def test_the_slice_is_found_beside_a_folder_above(tmp_path):
    assert kuairand.find(tmp_path) is None
    place = tmp_path / "shared" / "data" / "kuairand_pure"
    write_folder(place, log_of([{"user_id": 1}]))
    (tmp_path / "checkout" / "src").mkdir(parents=True)
    assert kuairand.find(tmp_path / "checkout" / "src") == place


def test_the_slice_is_prepared_within_seconds_and_agrees_with_its_readme(tmp_path):
    folder = kuairand.find(Path(__file__))
    if folder is None:
        pytest.skip("the KuaiRand slice is not beside this checkout")
    began = time.monotonic()
    source = kuairand.prepare(folder, tmp_path / "out")
    assert time.monotonic() - began < 30
    card = kuairand.card(tmp_path / "out")
    assert card["rows"] + card["repeats_dropped"] == 198_895
    assert source.rows == card["rows"]
    assert (
        source.between("2022-05-05", "2022-05-06").rows
        == card["days"]["2022-05-05"] + card["days"]["2022-05-06"]
    )
