"""Admission by count and by chance: who gets a row, and what those read that do not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.batch import Batch, Jagged
from larix.embedding import SGD, ByChance, ByCount, Constant, Layout, Output, Slot, TableSpec, reference
from larix.embedding.reference.admit import Sketch
from larix.errors import ConfigError

EXTREMES = [0, -1, np.iinfo(np.int64).min, np.iinfo(np.int64).max]
PAIR = Layout(
    outputs=(Output(name="o", width=4),),
    slots=(
        Slot(name="x", table="a", output=0, column=0),
        Slot(name="y", table="a", output=0, column=2, pool="mean"),
    ),
)


def spec(admission, default=0.0):
    return TableSpec(
        name="a",
        dim=2,
        optimizer=SGD(lr=1.0),
        init=Constant(value=10.0),
        admission=admission,
        default=default,
    )


def pair(x, y):
    bags = Jagged(np.array([i for bag in y for i in bag]), np.cumsum([0, *map(len, y)]))
    return Batch(
        size=len(x),
        ids={"x": Jagged(np.array(x)), "y": bags},
        sequences={},
        dense=np.zeros((len(x), 0), np.float32),
    )


def meet(tables, *ids):
    return tables.lookup("a", np.array(ids, np.int64), insert=True)


def test_an_id_gets_its_row_at_its_nth_occurrence_and_reads_the_default_until_then(store):
    tables = store([spec(ByCount(n=3), default=0.5)])
    assert np.all(meet(tables, 7, *EXTREMES) == 0.5)
    assert np.all(meet(tables, 7) == 0.5)
    assert np.all(meet(tables, 7) == 10)
    assert tables.keys("a").tolist() == [7]
    stats = tables.stats()
    assert (stats.refused, stats.inserted, stats.hits, stats.lookups) == (6, 1, 0, 7)


def test_all_occurrences_of_a_call_are_counted_before_any_is_decided_on(store):
    tables = store([spec(ByCount(n=3))])
    assert np.array_equal(meet(tables, 1, 2, 1, 1), [[10, 10], [0, 0], [10, 10], [10, 10]])
    assert (tables.stats().inserted, tables.stats().hits, tables.stats().refused) == (1, 2, 1)


def test_slots_of_one_call_count_together(store):
    tables = store([spec(ByCount(n=2), default=4.0)])
    out = np.empty((2, 4), np.float32)
    lookup = tables.gather(PAIR, pair([1, 2], [[1, 3], []]), [out])
    assert np.array_equal(out, [[10, 10, 7, 7], [4, 4, 0, 0]])
    tables.apply(lookup, [np.ones((2, 4), np.float32)])
    assert np.all(tables.lookup("a", [1]) == 10 - 1.5)
    stats = tables.stats()
    assert (stats.refused, stats.lost, len(tables)) == (2, 0, 1)  # refused ids bring no lost gradients


def test_looking_up_without_training_counts_and_draws_nothing(store):
    tables = store([spec(ByCount(n=2), default=-1.0)])
    for _ in range(5):
        assert np.all(tables.lookup("a", [5]) == -1)
    tables.gather(PAIR, pair([5], [[5]]), [np.empty((1, 4), np.float32)], insert=False)
    meet(tables, 5)
    assert (len(tables), tables.stats().missing, tables.stats().refused) == (0, 7, 1)


def test_rows_may_be_put_whatever_admission_says(store):
    tables = store([spec(ByCount(n=15))])
    tables.put("a", [5], np.ones((1, 2), np.float32), np.zeros((1, 0), np.float32))
    assert np.all(meet(tables, 5) == 1)


def test_old_counts_are_halved_once_the_window_is_over(store):
    tables = store([spec(ByCount(n=4, counters=1 << 16, window=10))])
    meet(tables, 1, 1, 1)
    meet(tables, *range(100, 108))  # the eleventh: 3 becomes 1
    meet(tables, 1, 1)
    assert tables.rows("a") == 0
    meet(tables, 1)
    assert tables.keys("a").tolist() == [1]


def test_a_chance_of_one_admits_all_and_a_small_one_about_its_share(store):
    assert store([spec(ByChance(p=1.0))]).lookup("a", EXTREMES, insert=True).min() == 10
    tables = store([spec(ByChance(p=0.1))])
    tables.lookup("a", np.arange(20_000), insert=True)
    assert abs(tables.rows("a") - 2000) < 5 * np.sqrt(20_000 * 0.1 * 0.9)


def test_chance_is_drawn_anew_each_call_and_once_for_all_occurrences_of_a_call(store):
    tables = store([spec(ByChance(p=0.25))])
    ids = np.arange(4_000)
    rows = tables.lookup("a", np.repeat(ids, 3), insert=True).reshape(-1, 3, 2)
    assert np.all(rows == rows[:, :1])
    first = tables.rows("a")
    tables.lookup("a", ids, insert=True)
    assert abs((tables.rows("a") - first) / (4_000 - first) - 0.25) < 0.05


def test_chance_depends_on_the_seed_and_the_table(store):
    def kept(name, seed):
        one = TableSpec(name=name, dim=1, admission=ByChance(p=0.5))
        tables = store([one], seed=seed)
        tables.lookup(name, np.arange(64), insert=True)
        return tables.keys(name).tolist()

    assert kept("a", 0) == kept("a", 0)
    assert kept("a", 0) != kept("a", 1)
    assert kept("a", 0) != kept("b", 0)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.integers(-5, 40), max_size=30), max_size=6), st.integers(1, 15), st.integers(0, 40)
)
def test_no_id_is_admitted_late_and_order_within_a_call_is_nothing(calls, n, window):
    policy = ByCount(n=n, counters=1 << 14, window=window or 1 << 20)
    forwards, backwards = (reference.Tables([spec(policy)]) for _ in range(2))
    counted = dict.fromkeys(range(-5, 41), 0)
    added = 0
    for call in calls:
        ids = np.array(call, np.int64)
        without = [i for i in call if i not in forwards.keys("a")]
        forwards.lookup("a", ids, insert=True)
        backwards.lookup("a", ids[::-1], insert=True)
        for i in without:
            counted[i] = min(15, counted[i] + 1)
        assert set(forwards.keys("a")) >= {i for i in without if counted[i] >= n}
        added += len(without)
        if added > policy.ageing:
            counted = {i: count // 2 for i, count in counted.items()}
            added = 0
    assert np.array_equal(forwards.keys("a"), backwards.keys("a"))


def test_estimates_are_too_high_for_few_ids_within_the_window():
    policy = ByCount(n=2, counters=1 << 16)
    sketch = Sketch(policy, key=99)
    ids = np.random.default_rng(0).integers(-(2**63), 2**63, policy.ageing)
    sketch.add(ids)
    assert (sketch.estimate(ids) >= 2).mean() < 0.05
    assert (sketch.estimate(ids) >= 1).all()
    assert (sketch.estimate(ids + 1) >= 1).mean() < 0.05


def test_the_sketch_takes_the_bytes_it_says():
    assert (ByCount(counters=1 << 20).bytes, ByCount(counters=(1 << 20) + 1).bytes) == (1 << 19, 1 << 20)
    assert ByCount(counters=128).blocks == 1
    assert (ByCount(counters=1 << 20).ageing, ByCount(window=77).ageing) == (1 << 17, 77)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ByCount(n=0), r"ByCount.n is 0; it must be from 1 to 15"),
        (lambda: ByCount(n=16), r"ByCount.n is 16"),
        (lambda: ByCount(n=2.0), r"ByCount.n is 2.0; it must be a whole number"),
        (lambda: ByCount(counters=127), r"ByCount.counters is 127; it must be from 128"),
        (lambda: ByCount(window=-1), r"ByCount.window is -1; it must not be negative"),
        (lambda: ByChance(p=0.0), r"ByChance.p is 0.0; it must be above 0"),
        (lambda: ByChance(p=float("nan")), r"ByChance.p is nan"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(make, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make()
