import pytest

from larix.data import kuairand, kuairand_events, synthetic
from larix.data.join.reference import Reference
from larix.data.kuairand_since import since
from larix.data.log import Events
from larix.errors import ConfigError, DataError
from larix.recipes.guests import Guests, invite

ITEMS = ("video_id", "author_id", "tag", "duration_ms", "video_shown", "video_clicked")
CONTEXT = ("user_id", "tab", "time_ms", "hist_video_id", "hist_click")
HALF_HOUR = 31 * 60_000


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feed")
    feed = synthetic.write(folder / "feed", users=12, items=40, new_items=2, days=3, impressions=400)
    return kuairand.prepare(feed, folder / "ready")


@pytest.fixture
def invited(source):
    return invite(source, group="user_id", item="video_id", time="time_ms", candidates=15)


@pytest.fixture
def guests(source, invited):
    people, now_ms = invited
    return Guests(
        people,
        context=CONTEXT,
        items=ITEMS,
        item="video_id",
        unjoin=kuairand_events.unjoin(source.schema),
        since=since,
        schema=source.schema,
        now_ms=now_ms,
    )


def test_those_are_invited_who_were_shown_most_with_items_as_they_were_shown_last(source, invited):
    people, now_ms = invited
    rows = sorted((row for batch in source.stream() for row in batch.to_pylist()), key=lambda r: r["time_ms"])
    assert now_ms == rows[-1]["time_ms"]
    shown = [sum(row["user_id"] == guest.row["user_id"] for row in rows) for guest in people]
    assert len(people) == 3
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == max(sum(row["user_id"] == user for row in rows) for user in range(12))
    for guest in people:
        assert guest.row == [row for row in rows if row["user_id"] == guest.row["user_id"]][-1]
        assert len(guest.candidates) == 15
        for item, row in guest.candidates.items():
            assert row["time_ms"] == max(each["time_ms"] for each in rows if each["video_id"] == item)


def test_what_somebody_lives_through_is_in_the_next_request_and_in_nobody_elses_history(guests):
    first, second, _ = guests.guests
    before, other = guests.ask(first), guests.ask(second)
    items = before.candidates["video_id"][:3]
    guests.live(first, items, {items[1]: {"is_click": 1, "play_time_ms": 900}})
    after = guests.ask(first)
    assert after.context["hist_video_id"][-3:] == items
    assert after.context["hist_click"][-3:] == [0, 1, 0]
    assert after.at_ms == before.at_ms + 3000 == after.context["time_ms"]
    shown = [
        b - a for a, b in zip(before.candidates["video_shown"], after.candidates["video_shown"], strict=True)
    ]
    assert shown == [1, 1, 1] + [0] * 12
    assert guests.ask(second).context["hist_video_id"] == other.context["hist_video_id"]


def test_its_events_join_to_samples_that_hold_what_was_asked_with_and_done(guests, source):
    first, second, _ = guests.guests
    asked = guests.ask(first)
    items = asked.candidates["video_id"][:2]
    parts = [guests.live(first, items, {items[0]: {"is_click": 1, "is_like": 1, "play_time_ms": 700}})]
    guests.wait(HALF_HOUR * 2)
    parts.append(guests.live(second, guests.ask(second).candidates["video_id"][:1], {}))
    unjoin = kuairand_events.unjoin(source.schema)
    oracle = Reference(unjoin.join("impressions", "actions"), partitions={"impressions": 1, "actions": 1})
    found = []
    for impressions, actions in parts:
        sides = (("impressions", impressions), ("actions", actions))
        found += oracle.push(
            [
                Events(topic=topic, partition=0, offset=0, time_ms=0, rows=rows)
                for topic, rows in sides
                if len(rows)
            ]
        )
    found += oracle.finish()
    assert [row["video_id"] for row in found[:2]] == items
    assert [row["is_click"] for row in found] == [1, 0, 0]
    assert [row["is_like"] for row in found] == [1, 0, 0]
    assert found[0]["play_time_ms"] == 700
    assert found[0]["hist_video_id"] == asked.context["hist_video_id"]


def test_what_cannot_happen_is_refused(guests, source):
    name = next(iter(guests.guests))
    item = guests.ask(name).candidates["video_id"][0]
    with pytest.raises(DataError, match="no guest 'nobody'"):
        guests.ask("nobody")
    with pytest.raises(DataError, match="item -5 is no candidate"):
        guests.live(name, [-5], {})
    with pytest.raises(DataError, match="no label 'is_wow'"):
        guests.live(name, [item], {item: {"is_wow": 1}})
    with pytest.raises(ConfigError, match="no rows to invite"):
        invite(source.between(None, "2000-01-01"), group="user_id", item="video_id", time="time_ms")
