import ctypes
import gc
import logging
import random
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import CancelledError
from dataclasses import replace

import pytest
from engine_fakes import (
    FOUR,
    ONE,
    SOON,
    FakeScorer,
    Gated,
    Troubled,
    check_nothing_left,
    engine,
    eventually,
    quantile,
    request,
    target,
    told,
)

from larix.errors import DataError
from larix.serve.engine import Engine
from larix.serve.refusal import Refusal, Why


def test_a_deadline_that_passes_while_a_request_waits_ends_it_at_once_and_unscored():
    scorer = Gated(open=False)
    with engine(scorer, ONE) as made:
        first = made.submit(request(10))
        assert scorer.begun.wait(SOON)
        late = made.submit(request(20, deadline=time.monotonic() + 1.0))
        with pytest.raises(Refusal, match="no time for it") as raised:
            late.result(SOON)  # though the only thread is still at work
        assert raised.value.why is Why.TOO_LATE
        scorer.gate.set()
        assert first.result(SOON)
        assert scorer.runs == [[10]]
        assert made.stats().late == 1
        assert made.versions()[0].refused == {"TOO_LATE": 1}


def test_who_cancels_is_not_computed():
    scorer = Gated(open=False)
    with engine(scorer, ONE) as made:
        first = made.submit(request(10))
        assert scorer.begun.wait(SOON)
        other = made.submit(request(20))
        assert other.cancel()
        scorer.gate.set()
        assert first.result(SOON)
        eventually(lambda: made.stats().queued_rows == 0)
        with pytest.raises(CancelledError):
            other.result(SOON)
        assert scorer.runs == [[10]]
        assert made.stats().cancelled == 1


def test_at_three_times_capacity_those_let_in_are_answered_soon():
    scorer = Gated(seconds=0.02, base=0.02, each=0.0, shared=100.0)  # two streams of 20 ms: 100 a second
    with engine(scorer, replace(FOUR, workers=2, dense=2, wait_s=0.1)) as made:
        began, asked = time.monotonic(), []
        for number in range(600):
            time.sleep(max(0.0, began + number / 300 - time.monotonic()))
            asked.append(made.submit(request(10)))
        answered = [each.result(SOON) for each in asked if each.exception(SOON) is None]
        refused = [each.exception() for each in asked if each.exception() is not None]
        assert all(each.why is Why.OVERLOADED for each in refused)
        assert len(refused) > 100
        assert len(answered) > 60
        assert quantile([each.seconds["whole"] for each in answered], 0.99) < 1.0


@pytest.mark.parametrize("death", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_thread_that_dies_is_replaced_and_its_request_told(death, caplog):
    scorer = Gated(poison=13, error=death())
    with engine(scorer, replace(FOUR, workers=2)) as made, caplog.at_level(logging.CRITICAL):
        for number in range(1, 6):
            failed = made.submit(request(13)).exception(SOON)
            assert failed.why is Why.BROKEN
            assert "died" in str(failed)
            eventually(lambda number=number: made.stats().replaced == number)
        answers = [made.submit(request(100)) for _ in range(20)]
        assert all(each.result(SOON).value.size == 100 for each in answers)
        stats = made.stats()
        assert not any(stats.running.values())
        assert (stats.queued_rows, made.live) == (0, True)
    assert "is replaced" in caplog.text


def test_threads_that_are_killed_while_they_wait_are_replaced():
    with engine(FakeScorer(), FOUR) as made:
        eventually(lambda: threads() == 4)
        for each in threading.enumerate():
            if each.name == "engine":
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(each.ident), ctypes.py_object(SystemExit)
                )
        for _ in range(20):
            assert all(made.submit(request(50)).result(SOON).value.size == 50 for _ in range(10))
        eventually(lambda: made.stats().replaced >= 1)
        eventually(lambda: threads() == 4)


def test_death_on_the_thread_of_who_asks_is_theirs_and_leaves_nothing_behind():
    scorer = Gated(poison=13, error=KeyboardInterrupt())
    with engine(scorer, ONE) as made:
        with pytest.raises(KeyboardInterrupt):
            made.rank(request(13))
        assert made.rank(request(10)).value.size == 10
        assert made.stats().queued_rows == 0
        assert made.stats().replaced == 0


def test_work_that_hangs_is_given_up_and_others_are_answered():
    scorer = Gated(open=False)
    with engine(scorer, replace(ONE, stall_s=1.0)) as made:
        failed = made.submit(request(10)).exception(SOON)
        assert failed.why is Why.BROKEN
        assert "hangs" in str(failed)
        assert made.stats().hanging == 1
        assert not made.live  # one thread was all there was: whoever watches should start another process
        scorer.gate.set()
        eventually(lambda: made.live)
        assert made.rank(request(20)).value.size == 20
        assert made.submit(request(30)).result(SOON).value.size == 30
        eventually(lambda: threads() == 1)
        assert made.stats().replaced == 1
        eventually(lambda: not any(made.stats().running.values()))


def test_draining_answers_those_under_way_and_lets_nobody_in():
    scorer = Gated(open=False)
    with engine(scorer, ONE) as made:
        asked = [made.submit(request(10)) for _ in range(3)]
        assert scorer.begun.wait(SOON)
        drained = []
        thread = threading.Thread(target=lambda: drained.append(made.drain(SOON)))
        thread.start()
        eventually(lambda: not made.ready)
        for ask in (made.rank, lambda asked: made.submit(asked).result(SOON)):
            with pytest.raises(Refusal, match="shutting down") as raised:
                ask(request(10))
            assert raised.value.why is Why.UNAVAILABLE
        scorer.gate.set()
        thread.join(SOON)
        assert drained == [True]
        assert all(each.result(0).value.size == 10 for each in asked)


def test_draining_refuses_what_is_not_begun_in_time():
    scorer = Gated(open=False)
    with engine(scorer, ONE) as made:
        asked = [made.submit(request(10)) for _ in range(3)]
        assert scorer.begun.wait(SOON)
        assert not made.drain(0.05)
        assert [each.exception(SOON).why for each in asked[1:]] == [Why.UNAVAILABLE] * 2
        scorer.gate.set()
        assert asked[0].result(SOON).value.size == 10


def threads():
    return sum(each.name == "engine" for each in threading.enumerate())


def test_closing_ends_all_threads():
    before = threading.active_count()
    made = Engine(lambda _: target(), FOUR)
    assert threading.active_count() > before
    made.close()
    assert threading.active_count() == before
    with pytest.raises(Refusal, match="shutting down"):
        made.rank(request(10))


def test_a_clock_that_jumps_moves_no_deadline(monkeypatch):
    with engine(FakeScorer()) as made:
        for hours in (-5, 5):
            now = time.time() + 3600 * hours
            monkeypatch.setattr(time, "time", lambda now=now: now)
            asked = request(10, deadline=time.monotonic() + SOON)
            assert made.submit(asked).result(SOON).seconds["whole"] < SOON


def test_threads_that_find_nothing_to_do_sleep():
    class Slow(FakeScorer):
        def user(self, context):
            assert gate.wait(SOON)
            return super().user(context)

    gate = threading.Event()
    with engine(Slow(), replace(FOUR, sparse=1)) as made:
        asked = [made.submit(request(10)) for _ in range(5)]
        eventually(lambda: made.stats().running["sparse"] == 1)
        used = time.process_time()
        time.sleep(0.5)
        used = time.process_time() - used
        gate.set()
        assert all(each.result(SOON).value.size == 10 for each in asked)
    assert used < 0.25, "they wake each other, though what waits must wait"


def test_whatever_goes_wrong_at_once_everybody_is_told_and_nothing_is_left():
    """Clients of both kinds, cancellations, deadlines, malformed requests, failing models and dying threads, all at random."""

    settings = replace(FOUR, workers=3, dense=2, wait_s=0.05, ahead_rows=500)
    outcomes, lock = Counter(), threading.Lock()

    def client(seed):
        draw = random.Random(seed)
        for _ in range(120):
            patience = draw.choice([30.0, 30.0, 0.02, 0.0])
            asked = request(draw.randint(1, 900), deadline=time.monotonic() + patience)
            try:
                if draw.random() < 0.5:
                    answer = made.rank(asked)
                else:
                    future = made.submit(asked)
                    if draw.random() < 0.2:
                        future.cancel()
                    answer = future.result(SOON)
                assert answer.value.tolist() == list(range(asked.candidates.num_rows))
                error = None
            except (Refusal, DataError, CancelledError, SystemExit) as caught:
                error = caught
            with lock:
                outcomes[told(error)] += 1

    with engine(Troubled(deadly=True), settings) as made:
        clients = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join(3 * SOON)
        assert sum(outcomes.values()) == 8 * 120
        assert {"answered", "BROKEN", "DataError", "TOO_LATE"} <= set(outcomes)
        check_nothing_left(made)
        assert made.rank(request(10)).value.size == 10


def test_threads_that_wait_keep_nothing_of_what_they_did():
    scorer, routed = Gated(), []
    with Engine(lambda asked: routed[-1], FOUR) as made:
        routed.append(target(scorer))
        for future in [made.submit(request(10, id=str(number))) for number in range(20)]:
            assert future.result(SOON)
        del future
        gone = weakref.ref(scorer)
        routed[:], scorer = [target(FakeScorer())], None
        eventually(lambda: gc.collect() >= 0 and gone() is None)
