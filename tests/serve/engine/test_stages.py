"""With one worker what follows on a request's look-up is done at once; with several the schedule says who does it."""

import logging
import math
import time
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from engine_fakes import FOUR, ONE, SOON, FakeScorer, PlainPages, engine, eventually, request, target

from larix.errors import DataError
from larix.serve.engine import Engine, Target, stages
from larix.serve.engine.job import Job
from larix.serve.engine.schedule import Schedule
from larix.serve.refusal import Refusal, Why


class Meddling(FakeScorer):
    """Does something behind the back of whoever asks, once it has looked up or scored."""

    def __init__(self, **meddles):
        super().__init__()
        self.meddles = meddles

    def _meddle(self, when):
        self.meddles.get(when, lambda: None)()

    def look_up(self, user, candidates):
        found = super().look_up(user, candidates)
        self._meddle("looked")
        return found

    def score(self, looked):
        found = super().score(looked)
        self._meddle("scored")
        return found


def begun(goal, settings=ONE, *, deadline=math.inf, rows=10):
    """A schedule, its job and the first work on it."""
    schedule, now = Schedule(settings), time.monotonic()
    job = Job(
        target=goal, request=request(rows), context=request(rows).context, deadline=deadline, arrived=now,
        rows=rows,
    )  # fmt: skip
    schedule.add(job, now)
    return schedule, job, schedule.next(now)


def ended(schedule, job):
    assert job.over
    assert schedule.ended == [job]
    assert (schedule.running, schedule.next(time.monotonic())) == (0, None)
    admission = schedule.admission
    assert (admission.jobs, admission.rows) == (0, 0)
    assert admission.todo == pytest.approx(0, abs=1e-12)
    assert admission.doing == pytest.approx(0, abs=1e-12)


def test_one_worker_goes_through_a_request_in_one_piece_of_work():
    goal = target()
    schedule, job, work = begun(goal)
    assert (work.stage, work.through) == ("sparse", True)
    stages.carry_out(work)
    assert (work.now, schedule.pages, schedule.dense) == (
        "page",
        type(schedule.pages)(),
        type(schedule.dense)(),
    )
    schedule.done(work, time.monotonic())
    ended(schedule, job)
    np.testing.assert_array_equal(job.answer.order, np.arange(10)[::-1])
    assert set(job.answer.seconds) == {"queue", "sparse", "wait", "dense", "page", "whole"}
    assert all(seconds >= 0 for seconds in job.answer.seconds.values())
    assert goal.costs.sparse(10) > 0
    assert goal.costs.page(10) > 0


def test_several_workers_and_what_needs_several_runs_go_by_the_schedule():
    assert not begun(target(), FOUR)[2].through
    goal = target()
    schedule, job, work = begun(goal, rows=1000)  # the largest run takes 512
    assert not work.through
    while work is not None:
        stages.carry_out(work)
        schedule.done(work, time.monotonic())
        work = schedule.next(time.monotonic())
    ended(schedule, job)
    assert len(job.answer.value) == 1000
    assert goal.scorer.runs == [[500], [500]]


@pytest.mark.parametrize("over", ["late", "cancelled"])
@pytest.mark.parametrize(("when", "runs"), [("looked", []), ("scored", [[10]])])
def test_it_goes_no_further_once_nobody_waits_or_there_is_no_time(over, when, runs):
    """Late between stages is late: what was begun is given up, and no page is made."""

    class NoPages(PlainPages):
        def answer(self, *_):
            raise AssertionError("a page was made of what nobody waits for")

    def meddle():
        if over == "cancelled":
            assert asked.cancel()
        else:
            goal.scorer.job.deadline = time.monotonic()

    scorer = Meddling(**{when: meddle})
    goal = Target(scorer=scorer, pages=NoPages())
    schedule, scorer.job, work = begun(goal)
    asked = scorer.job.future = Future()
    stages.carry_out(work)
    schedule.done(work, time.monotonic())
    assert schedule.next(time.monotonic()) is None
    ended(schedule, scorer.job)
    assert scorer.runs == runs
    assert (schedule.late, schedule.cancelled) == ((1, 0) if over == "late" else (0, 1))
    if over == "late":
        assert scorer.job.error.why is Why.TOO_LATE
        assert "begun, but not done" in str(scorer.job.error)


@pytest.mark.parametrize("stage", ["dense", "page"])
def test_what_fails_on_the_way_is_told_of_its_own_stage(stage, caplog):
    """Not even a DataError is the client's where only the server's own data are read."""

    def fail():
        raise DataError("the server's own")

    class Failing(PlainPages):
        def answer(self, *given):
            return fail()

    scorer = Meddling(scored=fail) if stage == "dense" else FakeScorer()
    goal = Target(scorer=scorer, pages=Failing() if stage == "page" else PlainPages())
    with caplog.at_level(logging.ERROR):
        schedule, job, work = begun(goal)
        stages.carry_out(work)
        schedule.done(work, time.monotonic())
    ended(schedule, job)
    assert isinstance(job.error, Refusal)
    assert job.error.why is Why.BROKEN
    assert f"in the {stage} stage: DataError" in str(job.error)


def test_a_malformed_request_is_told_so_before_anything_else_is_done():
    def fail():
        raise DataError("column 'x' is missing")

    scorer = Meddling(looked=fail)
    schedule, job, work = begun(target(scorer))
    stages.carry_out(work)
    schedule.done(work, time.monotonic())
    ended(schedule, job)
    assert isinstance(job.error, DataError)
    assert scorer.runs == []


def test_work_that_was_given_up_goes_no_further_when_it_comes_back():
    scorer = Meddling(looked=lambda: time.sleep(2.5))
    with engine(scorer, replace(ONE, stall_s=0.5)) as made:
        failed = made.submit(request(10)).exception(SOON)
        assert failed.why is Why.BROKEN
        assert "the sparse stage hangs" in str(failed)
        eventually(lambda: made.live)
        assert scorer.runs == []


def test_runs_and_stages_are_counted_as_they_are_one_by_one():
    told = []
    for settings in (ONE, FOUR):
        goal = target()
        with Engine(lambda _, goal=goal: goal, settings) as made:
            for rows in (10, 20, 30):
                assert made.rank(request(rows)).value.size == rows
            stats, (version,) = made.stats(), made.versions()
            assert not any(stats.running.values())
            told.append(
                (stats.admitted, stats.inline, stats.run_rows.counts, stats.run_requests.counts, version.runs,
                 version.answered, version.candidates, {name: sum(each.counts) for name, each in version.seconds.items()})
            )  # fmt: skip
    assert told[0] == told[1]
