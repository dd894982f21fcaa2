"""Eviction: who goes when memory is short, who stays, and what is counted. The budget itself: test_budget.py."""

import numpy as np
import pytest
from room import room

from larix.batch import Batch, Jagged
from larix.embedding import (
    SGD,
    Constant,
    FeatureScore,
    Layout,
    LeastFrequent,
    LeastRecent,
    Output,
    Slot,
    Tables,
    TableSpec,
    TimeToLive,
)
from larix.embedding.eviction import fading
from larix.embedding.reference.evict import elapsed, faded, gain
from larix.errors import ConfigError, DataError

ROOM = 20_000  # rows


def spec(policy, name="a"):
    return TableSpec(name=name, dim=4, optimizer=SGD(lr=1.0), init=Constant(value=1.0), eviction=policy)


def full(store, *specs, rows=ROOM):
    """A store with room for ``rows`` rows of the first table."""
    budget = room(store, {one: rows if one is specs[0] else 0 for one in specs})
    return store(list(specs), memory_budget=budget, background=False, threads=1)


def train(tables, ids, clicks=None, table="a", size=2_000):
    """Show every id once, ``size`` of them a step, each row's gradient 1."""
    ids = np.asarray(ids, np.int64)
    for start in range(0, len(ids), size):
        part = ids[start : start + size]
        tables.lookup(table, part, insert=True)
        clicked = None if clicks is None else np.full(len(part), clicks, np.float32)
        tables.update(table, part, np.ones((len(part), 4), np.float32), clicks=clicked)


def alive(tables, ids, table="a"):
    return np.isin(ids, tables.keys(table)).mean()


def test_the_least_recently_trained_rows_go(store):
    tables = full(store, spec(LeastRecent()))
    old, used, new = np.split(np.arange(3 * ROOM // 2), [ROOM // 2, ROOM])
    new = new[: ROOM // 4]
    train(tables, old)
    train(tables, used)
    train(tables, old)  # again: now the others are older
    tables.lookup("a", used)  # which looking them up does not change
    train(tables, new)
    assert alive(tables, new) == 1
    assert alive(tables, old) > 0.95
    assert alive(tables, used) < 0.95


def test_the_least_frequently_trained_rows_go(store):
    tables = full(store, spec(LeastFrequent()))
    often = np.arange(ROOM // 4)
    for _ in range(3):
        train(tables, often)
    train(tables, np.arange(10**6, 10**6 + 3 * ROOM))
    assert alive(tables, often) > 0.98
    assert tables.stats().evicted > ROOM


def test_what_was_frequent_long_ago_fades(store):
    tables = full(store, spec(LeastFrequent(half_life=100.0)))
    once_often, now_twice = np.arange(ROOM // 4), np.arange(10**5, 10**5 + ROOM // 4)
    tables.clock = 1_000
    for _ in range(4):
        train(tables, once_often)
    tables.clock = 2_000
    for _ in range(2):
        train(tables, now_twice)
    train(tables, np.arange(10**6, 10**6 + 2 * ROOM))
    assert alive(tables, once_often) < 0.05
    assert alive(tables, now_twice) > 0.95


def test_a_rare_id_that_is_clicked_outlives_a_frequent_one_that_is_not(store):
    tables = full(store, spec(FeatureScore(show=0.1, click=1.0)))
    clicked, shown = np.arange(ROOM // 4), np.arange(10**5, 10**5 + ROOM // 4)
    train(tables, clicked, clicks=1)
    for _ in range(4):
        train(tables, shown, clicks=0)
    train(tables, np.repeat(np.arange(10**6, 10**6 + 2 * ROOM), 5), clicks=0)  # five times at once
    assert alive(tables, clicked) > 0.98
    assert alive(tables, shown) < 0.2


def test_rows_go_once_their_time_is_over_without_any_budget(store):
    tables = store([spec(TimeToLive(age=10.0)), spec(None, "b")], background=False)
    tables.clock = 100
    train(tables, range(1000))
    train(tables, range(1000), table="b")
    tables.clock = 105
    train(tables, range(500))
    tables.clock = 111
    for _ in range(20):  # some calls of training, in which the sweep comes by
        train(tables, [5000])
    assert np.array_equal(tables.keys("a"), [*range(500), 5000])
    assert (tables.rows("b"), tables.stats().evicted) == (1000, 500)


def test_when_memory_is_short_before_their_time_the_oldest_go(store):
    tables = full(store, spec(TimeToLive(age=10.0**6)))
    train(tables, np.arange(3 * ROOM))
    assert alive(tables, np.arange(ROOM)) < 0.05
    assert alive(tables, np.arange(5 * ROOM // 2, 3 * ROOM)) > 0.95


def test_tables_with_one_policy_compete_as_one(store):
    policy = LeastFrequent()
    tables = full(store, spec(policy), spec(policy, "b"))
    for _ in range(3):
        train(tables, range(ROOM // 4), table="b")
    train(tables, range(3 * ROOM))
    assert alive(tables, np.arange(ROOM // 4), "b") > 0.98


def test_each_policy_loses_its_part(store):
    tables = full(store, spec(LeastFrequent()), spec(LeastRecent(), "b"))
    train(tables, range(ROOM // 2), table="b")
    train(tables, range(ROOM // 4))
    train(tables, range(10**6, 10**6 + ROOM))
    assert 0.02 < alive(tables, np.arange(ROOM // 2), "b") < 0.9


def test_tables_without_a_policy_lose_nothing(store):
    tables = full(store, spec(LeastRecent()), spec(None, "b"))
    train(tables, range(ROOM // 2), table="b")
    train(tables, range(4 * ROOM))
    assert tables.rows("b") == ROOM // 2
    assert np.all(tables.lookup("b", np.arange(ROOM // 2)) == 0)


def test_a_gradient_whose_row_was_evicted_is_lost_and_counted_and_the_id_is_born_again(store):
    tables = full(store, spec(LeastRecent()))
    early = np.arange(100)
    train(tables, early)
    train(tables, np.arange(1000, 1000 + 3 * ROOM))
    assert alive(tables, early) == 0
    tables.update("a", early, np.ones((100, 4), np.float32))
    assert tables.stats().lost == 100
    assert np.all(tables.lookup("a", early) == 0)
    assert np.all(tables.lookup("a", early, insert=True) == 1)


def test_evicted_rows_leave_tombstones_in_the_changes(store):
    tables = full(store, spec(LeastRecent()))
    old, new = np.arange(9 * ROOM // 10), np.arange(9 * ROOM // 10, 21 * ROOM // 20)
    train(tables, old)
    before = tables.cut()
    train(tables, new, size=500)
    changes = tables.changes(before).tables["a"]
    assert np.isin(np.intersect1d(new, tables.keys("a")), changes.ids).all()
    assert np.isin(changes.ids, tables.keys("a")).all()  # and rows that were moved
    gone = np.setdiff1d(np.concatenate([old, new]), tables.keys("a"))
    assert len(gone) > 0
    assert np.isin(changes.removed, gone).all()
    assert np.isin(gone[gone < 1000], changes.removed).all()
    tables.cut()
    train(tables, np.arange(10**6, 10**6 + 3 * ROOM))  # so many that what went is no longer known, id by id
    assert tables.stats().bytes <= tables.memory_budget


def test_counts_add_up_while_rows_come_and_go(store):
    tables = full(store, spec(LeastRecent()))
    train(tables, np.random.default_rng(0).zipf(1.1, 150_000))
    stats = tables.stats()
    assert stats.evicted > 0
    assert stats.rows == stats.inserted - stats.evicted == len(tables.keys("a"))
    assert stats.lookups == stats.hits + stats.inserted + stats.missing + stats.refused == 150_000


def test_rows_whose_gradients_are_on_the_way_stay():
    tables = Tables([spec(LeastFrequent())], memory_budget=room(Tables, {spec(None): ROOM}), background=False)
    layout = Layout(
        outputs=(Output(name="o", width=4),), slots=(Slot(name="x", table="a", output=0, column=0),)
    )
    rng = np.random.default_rng(3)
    waiting = []
    for _ in range(100):  # as in a training loop that is two updates behind: hardly a row is met twice
        ids = rng.integers(0, 10**6, 1_000)
        one = Batch(size=1_000, ids={"x": Jagged(ids)}, sequences={}, dense=np.zeros((1_000, 0), np.float32))
        waiting.append(tables.gather(layout, one, [np.empty((1_000, 4), np.float32)]))
        if len(waiting) > 2:
            tables.apply(waiting.pop(0), [np.ones((1_000, 4), np.float32)])
    stats = tables.stats()
    assert stats.evicted > 70_000
    assert stats.lost == 0


@pytest.mark.parametrize("half_life", [0.0, 0.7, 3.0, 86_400.0])
def test_scores_fade_by_halves_however_long_it_takes(half_life):
    table = fading(LeastFrequent(half_life=half_life))
    ticks = np.array([0, 1, 2, 3, 6, 1000, 86_400, 2**31 + 12345, 2**32 - 1], np.uint32)
    expected = 0.5 ** (ticks / half_life) if half_life else np.ones(len(ticks))
    # exactly what float32 can tell, where it is no smaller than float32 holds
    assert np.allclose(
        faded(np.full(len(ticks), 8, np.float32), ticks, table), 8 * expected, rtol=1e-6, atol=1e-37
    )


def test_a_clock_that_was_set_back_fades_nothing():
    assert elapsed(5, np.array([3, 5, 9], np.uint32)).tolist() == [2, 0, 0]


def test_clicks_weigh_as_the_policy_says():
    clicks = np.array([0, 1, 0.5], np.float32)
    policy = FeatureScore(show=0.5, click=2.0, sequence=0.1)
    assert np.allclose(gain(policy, clicks), [0.5, 2, 1.25])
    assert np.allclose(gain(policy, clicks, in_sequence=True), [0.05, 0.2, 0.125])
    assert np.array_equal(gain(LeastFrequent(), clicks, in_sequence=True), [1, 1, 1])
    assert np.array_equal(gain(LeastRecent(), clicks), [0, 0, 0])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: TimeToLive(age=-1.0), r"TimeToLive.age is -1.0; it must be from 0"),
        (lambda: LeastFrequent(half_life=float("nan")), r"LeastFrequent.half_life is nan"),
        (lambda: FeatureScore(click=-1.0), r"FeatureScore.click is -1.0; it must be from 0"),
        (lambda: FeatureScore(half_life=float("inf")), r"FeatureScore.half_life is inf"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make()


def test_clicks_and_clocks_that_make_no_sense_are_refused(store):
    tables = store([spec(FeatureScore())])
    ones = np.ones((2, 4), np.float32)
    with pytest.raises(ConfigError, match=r"clicks is float64 \[2\]; it must be float32"):
        tables.update("a", [1, 2], ones, clicks=np.ones(2))
    with pytest.raises(DataError, match="clicks hold nan"):
        tables.update("a", [1, 2], ones, clicks=np.array([0, np.nan], np.float32))
    with pytest.raises(ConfigError, match="the clock was set to -1; it must be between 0"):
        tables.clock = -1


def test_the_clock_counts_calls_of_training_until_it_is_set(store):
    tables = store([spec(None)])
    tables.lookup("a", [1], insert=True)
    tables.lookup("a", [1])
    tables.lookup("a", [1], insert=True)
    assert tables.clock == 2
    tables.clock = 1_700_000_000
    tables.lookup("a", [1], insert=True)
    assert tables.clock == 1_700_000_000


def test_a_spec_with_policies_survives_json():
    given = TableSpec(name="a", dim=2, eviction=FeatureScore(show=0.2), default=0.25)
    assert TableSpec.from_json(given.to_json()) == given
