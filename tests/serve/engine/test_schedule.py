import math
from collections import Counter
from dataclasses import replace

import pytest
from engine_fakes import CONTEXT, FakeScorer, JointScorer, Simulation, poisson, quantile, request, target
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.serve.engine.job import Job
from larix.serve.engine.schedule import Schedule
from larix.serve.engine.settings import EngineSettings
from larix.serve.refusal import Refusal, Why

FOUR = EngineSettings(workers=4, sparse=4, dense=4)


def job(rows, deadline=math.inf, goal=None, arrived=0.0):
    return Job(
        target=goal or target(),
        request=request(rows),
        context=CONTEXT,
        deadline=deadline,
        arrived=arrived,
        rows=rows,
    )


def nothing_is_left(schedule):
    admission = schedule.admission
    assert (admission.jobs, admission.rows, admission.size_bytes) == (0, 0, 0)
    assert not any([schedule.sparse, schedule.dense, schedule.pages, schedule.running])
    assert abs(admission.todo) < 1e-9
    assert abs(admission.doing) < 1e-9


arrivals = st.lists(
    st.tuples(
        st.floats(0, 0.02),
        st.one_of(st.integers(1, 60), st.integers(1, 1500)),
        st.sampled_from([math.inf, 0.03, 0.005, 0.0]),
    ),
    max_size=60,
)
limits = st.builds(
    EngineSettings,
    workers=st.integers(1, 5),
    sparse=st.integers(1, 5),
    dense=st.integers(1, 5),
    window_s=st.sampled_from([0.0, 0.001, 0.01]),
    together=st.integers(1, 8),
    ahead_rows=st.sampled_from([1, 100, 1 << 13]),
    queued_rows=st.sampled_from([1500, 1 << 18]),
    wait_s=st.sampled_from([0.0, 0.01, 10.0]),
)


@settings(max_examples=150, deadline=None)
@given(arrivals, limits, st.booleans(), st.floats(0.3, 3), st.floats(0, 1), st.integers(0, 99))
def test_every_request_ends_once_within_all_bounds_in_any_order(arriving, limited, joint, slow, noise, seed):
    """That nobody is answered twice, waits beyond the window, or gets another's logits, the simulation asserts itself."""
    simulation = Simulation(limited, slow=slow, noise=noise, seed=seed)
    scorer = JointScorer() if joint else FakeScorer()
    found = simulation.run(arriving, target(scorer))
    assert len(found) == len(arriving)
    assert all(seen.outcome in {"answered", "TOO_LATE", "OVERLOADED"} for seen in found)
    assert all(sum(run) <= scorer.buckets[-1] for run in scorer.runs)
    assert all(len(run) <= limited.together for run in scorer.runs)
    for looked in scorer.joint if joint else []:
        assert len(looked) <= limited.together
        assert len(looked) == 1 or sum(looked) <= scorer.buckets[-1]
    assert sum(map(sum, scorer.runs)) >= sum(seen.rows for seen in found if seen.outcome == "answered")
    nothing_is_left(simulation.schedule)


def small(draw):
    return draw.choice([20, 50, 100])


def mixed(draw):
    return draw.choice([50, 50, 50, 200, 500])


def capacity(simulation, rows, slow):
    scorer, sizes = FakeScorer(), [20, 50, 100] if rows is small else [50, 50, 50, 200, 500]
    one = [
        sum(stage(size) for stage in simulation.seconds.values()) + scorer.seconds((size,)) for size in sizes
    ]
    return 4 / (sum(one) / len(one)) / slow


@pytest.mark.parametrize("rows", [small, mixed])
@pytest.mark.parametrize("slow", [0.7, 1.0, 2.0])
@pytest.mark.parametrize("patience", [math.inf, 0.04])
def test_at_three_times_capacity_those_let_in_are_answered_in_time(rows, slow, patience):
    """``slow``: how wrong the costs measured when the model was loaded are; the engine finds out."""
    simulation = Simulation(FOUR, slow=slow, noise=0.3)
    able = capacity(simulation, rows, slow)
    found = [seen for seen in simulation.run(poisson(3 * able, 2.0, rows, patience)) if seen.arrived > 0.5]
    took = [seen.ended - seen.arrived for seen in found if seen.outcome == "answered"]
    slowest = 0.004 * slow * 2  # the largest request's own work, with the noise
    assert quantile(took, 0.99) < min(FOUR.wait_s + slowest + 0.01, patience)
    assert len(took) > 0.9 * able * 1.5, "shedding load must not cost throughput"
    outcomes = Counter(seen.outcome for seen in found)
    assert outcomes["TOO_LATE"] < 0.05 * len(took), "hardly anybody is let in for nothing"
    refused = [seen for seen in found if seen.outcome == "OVERLOADED"]
    assert all(0 < seen.retry_after_s < 1 for seen in refused)
    assert all(seen.ended == seen.arrived for seen in refused), "refusals come at once"


def test_below_capacity_nobody_is_refused_and_hardly_anybody_waits():
    simulation = Simulation(FOUR, noise=0.3)
    able = capacity(simulation, small, 1.0)
    found = simulation.run(poisson(0.5 * able, 2.0, small))
    assert {seen.outcome for seen in found} == {"answered"}
    alone = sum(stage(100) for stage in simulation.seconds.values()) + FakeScorer().seconds((100,))
    assert quantile([seen.ended - seen.arrived for seen in found], 0.5) < alone


def test_under_load_requests_share_runs_where_that_is_cheaper_and_only_there():
    def requests_a_run(scorer):
        simulation = Simulation(EngineSettings(workers=2, sparse=1, dense=1))
        simulation.run(poisson(2000, 1.0, small), target(scorer))
        runs = [rows for _, stage, rows in simulation.log if stage == "dense"]
        return sum(map(len, runs)) / len(runs)

    assert requests_a_run(FakeScorer(base=0.003, shared=1.0)) > 2
    assert requests_a_run(FakeScorer(base=0.0, shared=3.0)) == 1


def test_a_stream_waits_for_who_is_about_to_come_where_that_saves_time():
    limited = EngineSettings(workers=3, sparse=2, dense=1, window_s=0.005)
    arriving = [(0.0, 50, math.inf), (0.0005, 50, math.inf)]
    for base, runs in ((0.004, [[50, 50]]), (0.0001, [[50], [50]])):
        simulation, scorer = Simulation(limited, sparse=lambda rows: 0.001), FakeScorer(base=base, shared=1.0)
        goal = target(scorer)
        goal.costs.sparse.add(50, 0.001)
        simulation.run(arriving, goal)
        assert scorer.runs == runs
        assert bool(simulation.held) == (len(runs) == 1)


def test_requests_that_wait_are_looked_up_together_where_a_model_can():
    limited = EngineSettings(workers=2, sparse=2, dense=1, wait_s=10.0)
    able = 2 / 0.0034  # a second, looked up one by one; together far more
    throughput = {}
    for scorer in (FakeScorer(base=0.0, each=1e-6), JointScorer(base=0.0, each=1e-6)):
        simulation = Simulation(limited, sparse=lambda rows: 0.003 + 1e-6 * rows)
        found = simulation.run(poisson(2 * able, 0.5, small), target(scorer))
        throughput[type(scorer)] = len(found) / max(seen.ended for seen in found)
        assert {seen.outcome for seen in found} == {"answered"}
    assert throughput[JointScorer] > 1.5 * throughput[FakeScorer]
    assert max(map(len, scorer.joint)) > 3


def test_a_request_that_nobody_waits_behind_is_looked_up_alone():
    scorer = JointScorer()
    Simulation(FOUR).run([(at * 1.0, 50, math.inf) for at in range(5)], target(scorer))
    assert scorer.joint == [[50]] * 5


def test_who_finds_an_idle_worker_is_looked_up_at_once_and_alone():
    scorer = JointScorer()
    Simulation(replace(FOUR, wait_s=10.0)).run([(0.0, 10, math.inf)] * 8, target(scorer))
    assert scorer.joint[:4] == [[10]] * 4
    assert max(map(len, scorer.joint[4:])) > 1


def test_a_large_request_is_scored_side_by_side_on_idle_streams():
    simulation, scorer = Simulation(FOUR), FakeScorer(base=0.0001, buckets=(32, 64, 128, 256, 512))
    [seen] = simulation.run([(0.0, 512, math.inf)], target(scorer))
    assert scorer.runs == [[128]] * 4
    assert simulation.schedule.split == 1
    assert seen.ended < scorer.seconds((512,))
    for few in ({"workers": 2}, {"dense": 2}):
        scorer.runs.clear()
        Simulation(replace(FOUR, **few)).run([(0.0, 512, math.inf)], target(scorer))
        assert scorer.runs == [[256]] * 2, "no more streams than can work"


def test_work_that_can_no_longer_be_in_time_is_not_done():
    one, scorer = EngineSettings(workers=1, sparse=1, dense=1), FakeScorer()
    simulation = Simulation(one, sparse=lambda rows: 0.002)
    found = simulation.run(
        [(0.0, 50, math.inf), (0.0001, 60, 0.0022), (0.0002, 50, math.inf)], target(scorer)
    )
    assert [seen.outcome for seen in found] == ["answered", "TOO_LATE", "answered"]
    assert [60] not in scorer.runs
    assert simulation.schedule.late == 1


def test_a_request_that_could_not_be_in_time_even_alone_is_refused_at_once():
    schedule = Schedule(FOUR)
    with pytest.raises(Refusal, match="give it more time or fewer candidates") as raised:
        schedule.add(job(400, deadline=0.0001), 0.0)
    assert raised.value.why is Why.TOO_LATE
    with pytest.raises(Refusal, match="after its deadline"):
        schedule.add(job(5, deadline=1.0), 2.0)


def test_a_request_that_is_too_large_once_is_refused_for_good_and_one_too_many_for_now():
    schedule = Schedule(EngineSettings(queued_rows=1000))
    with pytest.raises(Refusal, match="1,001 candidates; at most 1,000") as raised:
        schedule.add(job(1001), 0.0)
    assert (raised.value.why, raised.value.retry_after_s) == (Why.TOO_LARGE, None)
    schedule.add(job(600), 0.0)
    with pytest.raises(Refusal, match="the server is full") as raised:
        schedule.add(job(600), 0.0)
    assert raised.value.why is Why.OVERLOADED
    assert raised.value.retry_after_s > 0


def test_looked_up_candidates_do_not_pile_up_before_the_dense_stage():
    limited = EngineSettings(workers=9, sparse=4, dense=1, ahead_rows=100, wait_s=10.0)
    simulation = Simulation(limited)
    seen = []
    plain = simulation._check
    simulation._check = lambda now: (
        seen.append(sum(p.looked.rows for p in simulation.schedule.dense)),
        plain(now),
    )
    simulation.run([(0.0, 50, math.inf)] * 40)
    assert max(seen) <= 100 + 4 * 50  # what waits, and what was under way when enough waited


def test_runs_hold_requests_of_one_model_only():
    schedule = Schedule(EngineSettings(workers=2, sparse=1, dense=1, wait_s=10.0))
    goals = [target(FakeScorer(base=0.01)), target(FakeScorer(base=0.01))]
    for at in range(9):
        schedule.add(job(10, goal=goals[at % 2]), 0.0)
    runs = []
    while True:
        while (work := schedule.next(0.0)) is not None:
            if work.stage == "dense":
                runs.append([piece.job.target.scorer for piece in work.pieces])
        if not schedule.running:
            break
        # The first run takes so long that all others are looked up meanwhile.
        work = next(each for stage in ("sparse", "page", "dense") for each in schedule.under_way[stage])
        if work.stage == "sparse":
            scorer = work.target.scorer
            work.result = [scorer.look_up(scorer.user(CONTEXT), work.jobs[0].request.candidates)]
        elif work.stage == "dense":
            work.result = work.target.scorer.score([piece.looked for piece in work.pieces])
        else:
            work.result = ["page"]
        schedule.done(work, 0.0)
    assert [len(scorers) for scorers in runs] == [1, 4, 4]
    assert all(len(set(map(id, scorers))) == 1 for scorers in runs)
    assert len(schedule.ended) == 9
    nothing_is_left(schedule)


def test_a_job_that_fails_in_one_piece_ends_once_and_its_other_pieces_are_passed_by():
    schedule, big = Schedule(EngineSettings(workers=1, sparse=1, dense=1)), job(1000)
    schedule.add(big, 0.0)
    work = schedule.next(0.0)
    work.result = [big.target.scorer.look_up(big.target.scorer.user(CONTEXT), big.request.candidates)]
    schedule.done(work, 0.0)
    work = schedule.next(0.0)
    work.error = Refusal(Why.BROKEN, "gone")
    schedule.done(work, 0.0)
    assert schedule.ended == [big]
    assert schedule.next(0.0) is None
    nothing_is_left(schedule)
