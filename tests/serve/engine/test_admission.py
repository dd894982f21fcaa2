from contextlib import suppress
from dataclasses import replace

import pytest
from engine_fakes import CONTEXT, FOUR, request, target
from hypothesis import given
from hypothesis import strategies as st

from larix.serve.engine.admission import Admission
from larix.serve.engine.job import Job
from larix.serve.refusal import Refusal, Why


def job(seconds, deadline=float("inf"), size_bytes=0):
    made = Job(
        target=target(),
        request=request(10),
        context=CONTEXT,
        deadline=deadline,
        arrived=0.0,
        rows=10,
        size_bytes=size_bytes,
    )
    made.expected = {"sparse": seconds / 2, "dense": seconds / 2, "page": 0.0}
    return made


def work(admission, made):
    admission.begin(made, sum(made.expected.values()))
    admission.did(sum(made.expected.values()))
    admission.leave(made)


def test_the_speed_is_what_is_done_in_a_second_of_having_enough_to_do():
    admission = Admission(FOUR)
    assert admission.speed == 4.0
    for at in range(200):
        now = at * 0.01
        admission.look(now, busy=True)
        made = job(0.015)
        admission.admit(made, now, waiting=True, least=0.0)
        work(admission, made)  # 15 ms of work in 10 ms: as if one core and a half did it
    assert admission.speed == pytest.approx(1.5, rel=0.05)


def test_a_time_of_having_nothing_to_do_says_nothing_of_the_speed():
    admission = Admission(FOUR)
    for at in range(200):
        admission.look(at * 1.0, busy=False)
        made = job(0.001)
        admission.admit(made, at * 1.0, waiting=False, least=0.0)
        work(admission, made)
    assert admission.speed == 4.0


def test_a_request_waits_for_the_work_before_it_by_the_speed():
    admission = Admission(FOUR)
    first, second = job(0.04), job(0.04)
    admission.admit(first, 0.0, waiting=False, least=0.0)
    admission.begin(first, 0.04)
    admission.admit(second, 0.0, waiting=True, least=0.0)
    assert admission.wait(waiting=True) == pytest.approx((0.04 / 2 + 0.04) / 4)
    assert admission.wait(waiting=False) == 0.0
    admission.did(0.04)
    admission.leave(first)
    admission.leave(second)  # never begun: nobody waits for it any more
    assert admission.wait(waiting=True) == pytest.approx(0.0, abs=1e-12)


def test_not_all_of_the_time_left_is_planned_away():
    admission = Admission(FOUR)
    admission.admit(job(0.4), 0.0, waiting=False, least=0.0)  # 0.1 seconds of it to wait for
    with pytest.raises(Refusal) as raised:
        Admission.admit(admission, job(0.0, deadline=0.1), 0.0, waiting=True, least=0.0)
    assert raised.value.why is Why.OVERLOADED
    assert raised.value.retry_after_s == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("size", "why"), [(FOUR.queued_bytes + 1, Why.TOO_LARGE), (FOUR.queued_bytes, Why.OVERLOADED)]
)
def test_bytes_are_bounded_alone_and_together(size, why):
    admission = Admission(FOUR)
    admission.admit(job(0.0, size_bytes=1), 0.0, waiting=False, least=0.0)
    with pytest.raises(Refusal) as raised:
        admission.admit(job(0.0, size_bytes=size), 0.0, waiting=False, least=0.0)
    assert raised.value.why is why
    assert (admission.jobs, admission.size_bytes) == (1, 1)


TIGHT = replace(FOUR, wait_s=0.05, queued_rows=40, queued_bytes=400)


@given(
    st.lists(st.tuples(st.floats(0, 0.2), st.integers(1, 200)), max_size=12),
    st.booleans(),
    st.floats(0, 0.2),
    st.integers(1, 40),
    st.integers(1, 400),
)
def test_nobody_is_turned_away_unread_who_would_have_been_let_in(before, waiting, seconds, rows, size_bytes):
    """Whatever is under way: when it is full, it is full for every request that asks for anything; and only then."""
    admission = Admission(TIGHT)
    for work, size in before:
        with suppress(Refusal):
            admission.admit(job(work, size_bytes=size), 0.0, waiting=waiting, least=0.0)
    full = admission.full(waiting)
    asked = job(seconds, size_bytes=size_bytes)
    asked.rows = rows
    if full is not None:
        with pytest.raises(Refusal) as raised:
            admission.admit(asked, 0.0, waiting=waiting, least=0.0)
        assert str(raised.value) == str(full)
        assert raised.value.retry_after_s == full.retry_after_s
    else:
        least = job(0.0, size_bytes=1)
        least.rows = 1
        admission.admit(least, 0.0, waiting=waiting, least=0.0)
