"""The memory budget: how it is told, what it promises, and what happens at its edge."""

import os
import sys

import numpy as np
import pytest
from room import room

from larix.embedding import ByCount, Constant, FeatureScore, LeastRecent, Tables, TableSpec
from larix.embedding.budget import parse, row_bytes, shown
from larix.errors import ConfigError


def spec(name="a", eviction=None, **more):
    return TableSpec(name=name, dim=4, init=Constant(value=1.0), eviction=eviction, **more)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (None, None),
        (12345, 12345),
        ("12345", 12345),
        ("4GiB", 4 << 30),
        ("500 MB", 500_000_000),
        ("1.5G", 3 << 29),
        ("2k", 2048),
        ("1tb", 10**12),
    ],
)
def test_a_budget_is_bytes_or_words(given, size):
    assert parse(given) == size


@pytest.mark.parametrize("given", [0, -5, True, 1.5, "", "GiB", "4 gigs", "-4GiB", "0.0001k"])
def test_what_is_no_budget_is_refused(given):
    with pytest.raises(ConfigError, match="memory budget"):
        parse(given)


def test_sizes_are_shown_as_they_may_be_given():
    assert [shown(size) for size in (900, 1536, 4 << 30, 5 << 40)] == ["900 B", "1.5 KiB", "4 GiB", "5 TiB"]
    assert parse(shown(1536)) == 1536


def test_memory_never_passes_the_budget(store):
    rng = np.random.default_rng(1)
    specs = [spec("a", LeastRecent()), spec("b", LeastRecent(), admission=ByCount(n=2, counters=1 << 16))]
    budget = room(store, dict.fromkeys(specs, 10_000))
    tables = store(specs, memory_budget=budget, background=False)
    for _ in range(60):
        for name in "ab":
            ids = rng.integers(0, 10**6, int(rng.integers(1, 4_000)))
            rows = tables.lookup(name, ids, insert=True)
            tables.update(name, ids, np.ones_like(rows))
            assert tables.stats().bytes <= budget
    assert tables.stats().evicted > 20_000
    assert len(tables) > 10_000  # and is made use of


def test_one_call_larger_than_the_budget_fills_it_and_refuses_the_rest(store):
    budget = room(store, {spec(): 10_000})
    tables = store([spec(eviction=LeastRecent())], memory_budget=budget, background=False)
    rows = tables.lookup("a", np.arange(100_000), insert=True)
    stats = tables.stats()
    assert stats.bytes <= budget
    assert stats.refused == 100_000 - len(tables)
    assert stats.rows > 5_000
    assert np.array_equal(rows[:, 0] == 1, np.isin(np.arange(100_000), tables.keys("a")))


def test_rows_of_a_call_are_not_evicted_by_that_call(store):
    tables = store(
        [spec(eviction=LeastRecent())], memory_budget=room(store, {spec(): 10_000}), background=False
    )
    tables.lookup("a", np.arange(4_000), insert=True)
    rows = tables.lookup("a", np.arange(30_000), insert=True)
    assert np.isin(np.arange(4_000), tables.keys("a")).all()
    assert np.all(rows[:4_000] == 1)


def test_tables_without_a_policy_that_do_not_fit_are_an_error_that_says_how_much_they_need(store):
    budget = room(store, {spec(): 10_000})
    tables = store([spec(), spec("b", LeastRecent())], memory_budget=budget, background=False)
    tables.lookup("a", np.arange(5_000), insert=True)
    tables.lookup("b", np.arange(3_000), insert=True)
    before = tables.keys("a")
    with pytest.raises(
        ConfigError, match=r"need \d+ bytes .* give a larger memory_budget, or an eviction policy"
    ):
        tables.lookup("a", np.arange(200_000), insert=True)
    assert np.isin(before, tables.keys("a")).all()
    assert tables.stats().bytes <= budget
    assert np.all(tables.lookup("a", before) == 1)


def test_ids_that_find_no_room_among_rows_that_stay_read_the_default_and_count_as_refused(store):
    budget = room(store, {spec(): 10_000})
    tables = store([spec(), spec("b", LeastRecent(), default=0.5)], memory_budget=budget, background=False)

    def fill():
        for start in range(0, 10**6, 100):
            tables.lookup("a", np.arange(start, start + 100), insert=True)

    with pytest.raises(ConfigError):
        fill()
    before = tables.stats().refused
    rows = tables.lookup("b", np.arange(10**5), insert=True)
    assert tables.stats().refused - before == np.count_nonzero(rows[:, 0] == 0.5) > 90_000
    assert tables.stats().bytes <= budget


def test_rows_that_are_put_find_room_or_an_error(store):
    budget = room(store, {spec(): 10_000})
    tables = store([spec(eviction=LeastRecent())], memory_budget=budget, background=False)
    for start in range(0, 30_000, 1_000):
        ids = np.arange(start, start + 1_000)
        tables.clock = start
        tables.put("a", ids, np.ones((1_000, 4), np.float32), np.zeros((1_000, 1), np.float32))
        assert np.isin(ids, tables.keys("a")).all()
    assert tables.stats().bytes <= budget
    with pytest.raises(ConfigError, match="memory budget"):
        tables.put(
            "a",
            np.arange(10**6, 10**6 + 50_000),
            np.ones((50_000, 4), np.float32),
            np.zeros((50_000, 1), np.float32),
        )


def test_a_budget_that_not_even_the_sketches_fit_in_is_refused(store):
    with pytest.raises(ConfigError, match=r"the index and the admission sketches take \d+ bytes"):
        store([spec(admission=ByCount())], memory_budget="2MiB")


def test_a_row_is_header_weights_and_state():
    assert row_bytes(TableSpec(name="a", dim=16)) == 24 + 64 + 4 + 4 + 2  # the last 4 fill it up to eights


def fill(tables, calls, seed=0):
    """Train on ever new ids among some that return; two tables of different dims, so that memory has to move."""
    rng = np.random.default_rng(seed)
    for call in range(calls):
        name = "ab"[call // 40 % 2]
        ids = np.concatenate([rng.integers(0, 2_000, 300), rng.integers(0, 2**60, 700)])
        rows = tables.lookup(name, ids, insert=True)
        tables.update(name, ids, np.ones_like(rows), clicks=(ids % 3 == 0).astype(np.float32))
    return tables


WIDE = [
    TableSpec(name="a", dim=4, eviction=FeatureScore()),
    TableSpec(name="b", dim=24, eviction=FeatureScore()),
]


def test_one_worker_told_the_same_evicts_the_same():
    stores = [fill(Tables(WIDE, threads=1, memory_budget="6MiB", background=False), 200) for _ in range(2)]
    assert stores[0].stats() == stores[1].stats()
    assert stores[0].stats().evicted > 50_000
    for name in "ab":
        for one, other in zip(*(tables.items(name) for tables in stores), strict=True):
            assert np.array_equal(one, other)


def test_memory_moves_to_the_tables_that_need_it():
    tables = Tables(WIDE, threads=1, memory_budget="6MiB", background=False)
    for start in range(0, 300_000, 1_000):
        tables.lookup("a", np.arange(start, start + 1_000), insert=True)
    full = tables.rows("a")
    for start in range(0, 100_000, 1_000):
        tables.lookup("b", np.arange(start, start + 1_000), insert=True)
        tables.update("b", np.arange(start, start + 1_000), np.ones((1_000, 24), np.float32))
        assert tables.stats().bytes <= tables.memory_budget
    assert tables.rows("a") < full / 2
    assert tables.rows("b") > 10_000
    assert tables.stats().refused == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thread_in_the_background_keeps_the_budget_and_ends_with_its_store():
    before = len(os.listdir("/proc/self/task"))
    tables = fill(Tables(WIDE, threads=1, memory_budget="6MiB"), 200)
    assert tables.stats().bytes <= tables.memory_budget
    assert tables.stats().evicted > 50_000
    del tables
    assert len(os.listdir("/proc/self/task")) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_evicts_without_the_thread_that_it_has_not_inherited():
    tables = fill(Tables(WIDE, threads=1, memory_budget="6MiB"), 100)
    evicted = tables.stats().evicted
    child = os.fork()
    if child == 0:
        stats = fill(tables, 100, seed=1).stats()
        os._exit(0 if stats.evicted > evicted + 20_000 and stats.bytes <= tables.memory_budget else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert fill(tables, 50, seed=2).stats().bytes <= tables.memory_budget
