import math

from engine_fakes import FakeScorer
from hypothesis import given
from hypothesis import strategies as st

from larix.serve.engine.batching import share, split, worth

costs = st.builds(
    FakeScorer,
    base=st.floats(0, 0.01),
    each=st.floats(1e-7, 1e-4),
    shared=st.floats(0.5, 3.0),
    buckets=st.sampled_from([(64,), (16, 64, 256), (50, 200, 500), (1, 2, 3)]),
)


@given(costs, st.integers(1, 3000), st.integers(0, 9), st.floats(0, 1))
def test_a_request_is_split_without_losing_or_doubling_rows(scorer, rows, free, waste):
    largest = scorer.buckets[-1]
    sizes = split(rows, free, largest, scorer.seconds, waste)
    assert sum(sizes) == rows
    assert max(sizes) <= largest
    assert max(sizes) - min(sizes) <= 1


@given(costs, st.integers(1, 3000), st.integers(1, 9), st.floats(0, 1))
def test_a_split_is_sooner_done_and_makes_no_more_work_than_may_be_wasted(scorer, rows, free, waste):
    largest = scorer.buckets[-1]
    fewest = split(rows, 0, largest, scorer.seconds, waste)
    assert len(fewest) == math.ceil(rows / largest)
    sizes = split(rows, free, largest, scorer.seconds, waste)
    if len(sizes) > len(fewest):
        most, least = scorer.seconds(sizes[:1]), scorer.seconds(fewest[:1])
        assert len(sizes) * most <= (1 + waste) * len(fewest) * least * (1 + 1e-9)
        assert math.ceil(len(sizes) / free) * most < math.ceil(len(fewest) / free) * least
        assert len(sizes) <= free


def test_a_large_request_takes_the_idle_streams_if_that_is_sooner():
    def seconds(rows):
        return 0.0001 + 0.00001 * sum(rows)

    assert split(500, 4, 512, seconds, 0.25) == [125] * 4
    assert split(500, 1, 512, seconds, 0.25) == [500]
    assert split(20, 4, 512, seconds, 0.25) == [20]  # the runs' fixed cost would be wasted
    assert split(1025, 1, 512, seconds, 0.25) == [342, 342, 341]


@given(
    costs,
    st.lists(st.tuples(st.integers(1, 500), st.floats(-0.01, 0.1)), min_size=1, max_size=20),
    st.integers(0, 5),
    st.integers(1, 8),
)
def test_those_that_share_a_run_fit_save_time_and_make_nobody_late(scorer, waiting, free, together):
    largest = scorer.buckets[-1]
    rows, spare = [min(rows, largest) for rows, _ in waiting], [left for _, left in waiting]
    chosen = share(rows, free, largest, together, scorer.seconds, spare)
    assert chosen[0] == 0
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= together
    sizes = [rows[index] for index in chosen]
    assert sum(sizes) <= largest
    if len(chosen) > 1:
        assert scorer.seconds(sizes) < sum(scorer.seconds((each,)) for each in sizes)
        assert scorer.seconds(sizes) <= min(spare[index] for index in chosen)


def test_free_streams_share_what_waits_evenly_by_rows():
    def seconds(rows):
        return 0.001 + 0.00001 * sum(rows)

    rows = [50] * 8
    assert share(rows, 1, 512, 32, seconds) == list(range(8))
    assert share(rows, 2, 512, 32, seconds) == list(range(4))
    assert share(rows, 8, 512, 32, seconds) == [0]
    assert share([350, *rows], 1, 512, 32, seconds) == [0, 1, 2, 3]
    assert share([350, 500, 50], 1, 512, 32, seconds) == [
        0,
        2,
    ]  # who does not fit is passed over, and is first next time


def test_who_costs_more_together_than_apart_goes_alone():
    def seconds(rows):
        return 0.001 * sum(rows) * (2 if len(rows) > 1 else 1)

    assert share([50, 50, 50], 1, 512, 32, seconds) == [0]
    assert worth([50], [(1e-6, 50)], 512, 32, seconds) == 0


def test_a_run_waits_for_another_only_if_that_saves_more_than_the_wait():
    def seconds(rows):
        return 0.002 + 0.00001 * sum(rows)

    assert worth([50], [(0.001, 50)], 512, 32, seconds) > 0.0019
    assert worth([50], [(0.003, 50)], 512, 32, seconds) == 0  # it comes too late
    assert worth([50], [(-0.001, 50)], 512, 32, seconds) == 0  # it should have come: who knows when it will
    assert worth([500], [(0.001, 50)], 512, 32, seconds) == 0  # it would not fit
    assert worth([50, 50], [(0.001, 50)], 512, 2, seconds) == 0  # there are enough
    assert worth([50], [], 512, 32, seconds) == 0


@given(costs, st.lists(st.integers(1, 300), min_size=1, max_size=8), st.integers(0, 4))
def test_the_first_is_always_taken_whoever_else_waits(scorer, rows, free):
    rows = [min(each, scorer.buckets[-1]) for each in rows]
    assert share(rows, free, scorer.buckets[-1], 32, scorer.seconds)[0] == 0
