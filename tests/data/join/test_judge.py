"""Faults of producers, clocks and networks: what comes out is what would have come without them, and each is counted."""

import random

import pytest
from join_events import NOW, act, events, said, show, spec_of

from larix.data.join import Joiner

ONE = {"shows": 1, "acts": 1}
TWO = {"shows": 2, "acts": 2}


def feed(count=60):
    """Appends of shows and actions, one of each kind a tenth of a second."""
    found = []
    for n in range(count):
        at = NOW + 100 * n
        found.append(events("shows", show(n, at, user=n % 7), time_ms=at))
        actions = [act("click", n - 3, at + 20), act("watch", n - 5, at + 30, ms=n)][: n % 3]
        if actions:
            found.append(events("acts", *actions, time_ms=at))
    return found


def joined(appends, spec=None, partitions=ONE):
    joiner = Joiner(spec or spec_of(ahead_s=60), partitions=partitions)
    samples = [row for each in appends for row in said(joiner.push([each]))]
    return samples + said(joiner.finish()), joiner.stats


PLAIN, COUNTS = joined(feed())


def test_the_feed_without_faults_loses_nothing():
    assert len(PLAIN) == 60
    assert (
        sum(row["clicked"] for row in PLAIN)
        == COUNTS.kinds["click"].accepted - COUNTS.kinds["click"].orphans
        > 30
    )


def test_duplicated_events_change_nothing_and_are_counted():
    again = [each for each in feed() for _ in range(3)]
    samples, stats = joined(again)
    assert samples == PLAIN
    for name, fate in stats.kinds.items():
        assert fate.accepted == COUNTS.kinds[name].accepted
        assert fate.duplicate == 2 * fate.accepted


def test_an_append_that_comes_again_after_a_while_changes_nothing():
    appends = feed()
    repeated = [
        each for n in range(0, len(appends), 10) for each in appends[n : n + 10] + appends[max(0, n - 10) : n]
    ]
    samples, stats = joined(repeated)
    assert samples == PLAIN
    twice = [fate.duplicate + fate.late for fate in stats.kinds.values()]
    assert sum(twice) == sum(len(each.rows) for each in repeated) - sum(len(each.rows) for each in feed())


@pytest.mark.parametrize("seed", range(5))
def test_reordered_events_within_the_lateness_change_nothing(seed):
    draw = random.Random(seed)
    mixed = sorted(feed(), key=lambda each: each.time_ms + draw.randint(0, 900))
    samples, stats = joined(mixed, spec_of(lateness_s=1, ahead_s=60))
    assert samples == PLAIN
    assert not any(fate.late for fate in stats.kinds.values())


def test_late_events_are_dropped_and_counted_by_kind():
    appends = feed()
    late = [events("shows", show(900, NOW)), events("acts", act("like", 58, NOW), act("click", 1, NOW))]
    samples, stats = joined(appends[:-2] + late + appends[-2:])
    assert samples == PLAIN
    assert (stats.kinds["impression"].late, stats.kinds["click"].late, stats.kinds["like"].late) == (1, 1, 1)


def test_future_dated_events_are_dropped_and_move_nothing():
    appends = feed()
    ahead = [events("shows", show(900 + n, NOW + 10**9 + n)) for n in range(3)]
    samples, stats = joined(appends[:20] + ahead + appends[20:])
    assert samples == PLAIN
    assert stats.kinds["impression"].future == 3


def test_null_keyed_events_and_those_without_time_or_id_are_dropped_and_counted():
    appends = feed()
    nulls = [
        events("shows", show(None, NOW), show(1, None), show(1, NOW) | {"id": None}),
        events("acts", act("click", None, NOW + 999), act("like", 1, None)),
        events("acts", {"kind": "click", "ms": 3}),
    ]
    samples, stats = joined(appends[:20] + nulls + appends[20:])
    assert samples == PLAIN
    assert (stats.kinds["impression"].null, stats.kinds["click"].null, stats.kinds["like"].null) == (3, 2, 1)


def test_events_of_unknown_kinds_are_passed_over_and_show_that_time_goes_on():
    appends = feed()
    samples, stats = joined([*appends[:20], events("acts", act("nod", 1, NOW + 1000)), *appends[20:]])
    assert samples == PLAIN
    assert stats.passed_over == {"shows": 0, "acts": 1}
    joiner = Joiner(spec_of(), partitions=ONE)
    joiner.push([events("shows", show(1, 9000)), events("acts", act("nod", 1, 9000))])
    assert joiner.watermark == 8800


def test_an_idle_partition_holds_samples_back_until_it_is_idle_for_long_enough():
    now = [0.0]
    spec = spec_of(idle_s=30)
    joiner = Joiner(spec, partitions=TWO, clock=lambda: now[0])
    shows = [events("shows", show(n, NOW + 100 * n), partition=0) for n in range(60)]
    assert len(joiner.push(shows)) == 0
    assert joiner.watermark is None
    now[0] = 29.9
    assert len(joiner.push([events("shows", show(60, NOW + 6000))])) == 0
    now[0] = 30.0
    samples = joiner.push([events("shows", show(61, NOW + 6100))])
    assert joiner.watermark == NOW + 5900
    assert samples["key"].to_pylist() == [n for n in range(62) if NOW + 100 * n + 1000 < NOW + 5900]
    # It wakes up: what is older than the watermark that went on without it is late, the rest is not.
    joiner.push([events("acts", act("click", 50, NOW + 5000), act("click", 59, NOW + 5950), partition=1)])
    assert (joiner.stats.kinds["click"].late, joiner.stats.kinds["click"].accepted) == (1, 1)
    assert joiner.watermark == NOW + 5900


def test_a_partition_of_which_there_is_more_to_read_is_not_idle_however_long_that_takes():
    now = [0.0]
    joiner = Joiner(spec_of(idle_s=30), partitions=TWO, clock=lambda: now[0])
    joiner.push([events("shows", show(0, NOW), partition=1)])
    for turn in range(1, 4):
        now[0] += 31
        shows = [events("shows", show(turn, NOW + 10_000 * turn))]
        assert len(joiner.push(shows, behind=[("shows", 1), ("acts", 0), ("acts", 1)])) == 0
        assert joiner.watermark is None
    samples = joiner.push([events("acts", act("click", 0, NOW + 10), partition=1)])
    assert joiner.stats.kinds["click"].late == 0
    assert len(samples) == 0
    now[0] += 29
    assert len(joiner.push([])) == 0, "all were heard of a moment ago"
    now[0] += 2
    assert len(joiner.push([events("shows", show(9, NOW + 30_000))])) == 3
    assert joiner.finish()["key"].to_pylist() == [3, 9]


def test_an_idle_topic_holds_samples_back_for_ever_if_it_is_not_said_for_how_long():
    joiner = Joiner(spec_of(), partitions=ONE)
    assert sum(len(joiner.push([each])) for each in feed() if each.topic == "shows") == 0
    assert len(joiner.finish()) == 60


def test_a_producers_clock_that_jumps_ahead_and_back_costs_its_own_partition_only():
    """Without a check against the append: its events after the jump are late, those of other partitions are not."""
    spec = spec_of()
    appends = [events("shows", show(n, NOW + 100 * n), partition=n % 2) for n in range(40)]
    jump = events("shows", show(99, NOW + 10_000_000), partition=1)
    acts = [events("acts", act("click", n, NOW + 100 * n), partition=n % 2) for n in range(40)]
    joiner = Joiner(spec, partitions=TWO)
    samples = said(joiner.push([*appends[:20], jump, *appends[20:], *acts])) + said(joiner.finish())
    assert joiner.stats.kinds["impression"].late == 10
    assert [row["key"] for row in samples] == [n for n in range(40) if n < 20 or n % 2 == 0] + [99]


def test_the_clock_of_appends_may_jump_as_it_likes_if_it_is_not_asked():
    back = [events(each.topic, *each.rows.to_pylist(), time_ms=0) for each in feed()]
    assert joined(back, spec_of(ahead_s=None))[0] == PLAIN
    samples, stats = joined(back, spec_of(ahead_s=60))
    assert samples == []
    assert stats.kinds["impression"].future == 60
