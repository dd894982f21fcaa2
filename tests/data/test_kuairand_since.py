import pytest

from larix.data import kuairand, synthetic
from larix.data.kuairand_since import since

LISTS = (*kuairand.HISTORY, "hist_author_id", "hist_tag")
COUNTS = tuple(
    f"{owner}_{what}" for owner in ("user", "video", "author") for what in ("shown", *kuairand.COUNTED)
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A log's samples in the order of time."""
    folder = tmp_path_factory.mktemp("feed")
    feed = synthetic.write(folder / "feed", users=8, items=30, new_items=2, days=3, impressions=500)
    source = kuairand.prepare(feed, folder / "ready", newest=20)
    found = [row for batch in source.stream() for row in batch.to_pylist()]
    return sorted(found, key=lambda row: row["time_ms"])


def test_features_carried_on_are_those_that_the_whole_log_gives(rows):
    compared = 0
    for at in range(0, len(rows), 7):
        early = rows[at]
        for until in range(at + 1, len(rows)):
            late = rows[until]
            if late["user_id"] != early["user_id"] or late["time_ms"] == rows[until - 1]["time_ms"]:
                continue
            between = [
                each for each in rows[at:until] if early["time_ms"] <= each["time_ms"] < late["time_ms"]
            ]
            if any(each["time_ms"] == early["time_ms"] for each in between[1:]):
                continue
            carried = since(early, between, newest=20)
            assert {name: carried[name] for name in LISTS} == {name: late[name] for name in LISTS}
            assert carried["user_shown"] == late["user_shown"]
            for owner in ("video", "author"):
                if early[f"{owner}_id"] == late[f"{owner}_id"]:
                    names = [name for name in COUNTS if name.startswith(owner)]
                    assert {name: carried[name] for name in names} == {name: late[name] for name in names}
            compared += 1
            if until > at + 120:
                break
    assert compared > 100


def test_a_row_stays_as_it_is_and_others_do_not_lengthen_its_history(rows):
    row, other = rows[0], next(each for each in rows if each["user_id"] != rows[0]["user_id"])
    before = {name: row[name] for name in row}
    found = since(row, [other])
    assert row == before
    assert found["hist_video_id"] == row["hist_video_id"]
    assert since(row, [row] * 60)["hist_video_id"] == [row["video_id"]] * 50


def test_a_row_of_features_alone_is_enough():
    lived = {"user_id": 1, "video_id": 2, "author_id": 3, "tag": [], "tab": 1, "time_ms": 5, "is_click": 1}
    lived |= {"long_view": 0, "is_like": 1, "play_time_ms": 10, "duration_ms": 20}
    found = since({"user_id": 1, "video_id": None, "author_id": 3}, [lived])
    assert found["hist_tag"] == [-1]
    assert found["author_liked"] == found["user_clicked"] == 1
    assert found["video_shown"] == 0
