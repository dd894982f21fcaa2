import asyncio
import random
import threading
import time
from collections import Counter, deque
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace

import pytest
from engine_fakes import (
    FOUR,
    ONE,
    SOON,
    FakeScorer,
    Gated,
    JointScorer,
    Troubled,
    check_nothing_left,
    engine,
    eventually,
    request,
    told,
)

from larix.errors import DataError
from larix.serve.engine.lent import here, lent
from larix.serve.refusal import Refusal, Why


@dataclass
class Seen(JointScorer):
    """Remembers the threads that it scored on."""

    threads: list = field(default_factory=list)

    def score(self, looked):
        self.threads.append(threading.get_ident())
        return super().score(looked)


async def all_of(futures):
    return await asyncio.gather(*map(asyncio.wrap_future, futures))


def test_what_is_asked_for_on_a_lent_thread_is_carried_out_on_it():
    scorer = Seen()

    async def ask():
        with lent(asyncio.get_running_loop().call_soon):
            return await all_of([made.submit(request(10)) for _ in range(7)])

    with engine(scorer, ONE) as made:
        answers = asyncio.run(ask())
        assert [answer.value.size for answer in answers] == [10] * 7
        assert set(scorer.threads) == {threading.get_ident()}
        assert made.submit(request(10)).result(SOON)  # it is lent no more
        assert scorer.threads[-1] != threading.get_ident()
        stats = made.stats()
        assert (stats.queued_rows, stats.replaced, any(stats.running.values())) == (0, 0, False)


def test_where_there_are_several_workers_a_lent_thread_is_left_alone():
    scorer = Seen()

    async def ask():
        with lent(asyncio.get_running_loop().call_soon):
            await all_of([made.submit(request(10)) for _ in range(7)])

    with engine(scorer, replace(FOUR, workers=2)) as made:
        asyncio.run(ask())
    assert threading.get_ident() not in scorer.threads


def test_what_comes_at_once_shares_a_run_and_the_loop_goes_on_between_two():
    scorer, turns = Seen(base=0.01), []

    async def ask():
        loop = asyncio.get_running_loop()
        with lent(loop.call_soon):
            together = [made.submit(request(30)) for _ in range(4)]
            loop.call_soon(lambda: turns.append(len(scorer.runs)))
            loop.call_soon(lambda: loop.call_soon(lambda: turns.append(len(scorer.runs))))
            await all_of(together)

    with engine(scorer, ONE) as made:
        asyncio.run(ask())
    assert scorer.joint == [[30] * 4]
    assert scorer.runs == [[30] * 4]
    assert turns == [0, 1], "one piece of work at a time"


def test_a_lent_thread_takes_what_others_ask_for_while_it_is_at_work():
    scorer, turns = Seen(), deque()
    with engine(scorer, ONE) as made:
        with lent(turns.append):
            first = made.submit(request(10))
        other = []
        thread = threading.Thread(target=lambda: other.append(made.submit(request(20))))
        thread.start()
        thread.join(SOON)
        while turns:
            turns.popleft()()
        assert first.result(0).value.size == 10
        assert other[0].result(SOON).value.size == 20


def test_deadlines_are_kept_while_the_lent_thread_is_at_work():
    scorer, late = Gated(open=False), []

    async def ask():
        with lent(asyncio.get_running_loop().call_soon):
            first = made.submit(request(10))
            late.append(made.submit(request(20, deadline=time.monotonic() + 0.5)))
            return await asyncio.wrap_future(first)

    with engine(scorer, ONE) as made:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(asyncio.run(ask())))
        thread.start()
        assert scorer.begun.wait(SOON)
        assert late[0].exception(SOON).why is Why.TOO_LATE  # though the loop is still in a run
        scorer.gate.set()
        thread.join(SOON)
        assert answers[0].value.size == 10
        assert scorer.runs == [[10]]


def test_what_a_lent_thread_does_not_come_for_is_carried_out_by_another():
    scorer = Seen()
    with engine(scorer, ONE) as made:
        with lent(lambda turn: None):  # it is kept by something else
            asked = [made.submit(request(10)) for _ in range(3)]
        assert all(each.result(SOON).value.size == 10 for each in asked)
    assert threading.get_ident() not in scorer.threads


@pytest.mark.parametrize("death", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_death_on_a_lent_thread_is_told_and_what_waits_is_carried_out(death):
    turns = deque()
    with engine(Gated(poison=13, error=death()), ONE) as made:
        with lent(turns.append):
            failed, other = made.submit(request(13)), made.submit(request(600))
        with pytest.raises(death):
            turns.popleft()()
        assert failed.exception(0).why is Why.BROKEN
        while turns:
            turns.popleft()()
        assert other.result(SOON).value.size == 600
        assert made.submit(request(10)).result(SOON).value.size == 10
        assert made.stats().replaced == 0


def test_work_that_hangs_on_a_lent_thread_is_given_up_and_others_are_answered():
    scorer = Gated(open=False)
    with engine(scorer, replace(ONE, stall_s=1.0)) as made:
        asked = []

        def keep():
            turns = deque()
            with lent(turns.append):
                asked.append(made.submit(request(10)))
                turns.popleft()()

        thread = threading.Thread(target=keep)
        thread.start()
        assert scorer.begun.wait(SOON)
        assert "hangs" in str(asked[0].exception(SOON))
        assert not made.live
        scorer.gate.set()
        thread.join(SOON)
        eventually(lambda: made.live)
        assert made.submit(request(30)).result(SOON).value.size == 30
        assert made.stats().replaced == 0, "the thread comes back by itself"


def test_draining_waits_for_what_a_lent_thread_has_to_do():
    scorer = Gated(seconds=0.02)

    async def ask():
        with lent(asyncio.get_running_loop().call_soon):
            asked = [made.submit(request(10)) for _ in range(5)]
            drained = await asyncio.to_thread(made.drain, SOON)
            return drained, [each.result(0).value.size for each in asked]

    with engine(scorer, ONE) as made:
        assert asyncio.run(ask()) == (True, [10] * 5)


def test_a_thread_is_lent_while_that_is_entered_and_no_other_is():
    elsewhere = []
    assert here() is None
    with lent(print):
        assert here() is print
        thread = threading.Thread(target=lambda: elsewhere.append(here()))
        thread.start()
        thread.join(SOON)
    assert here() is None
    assert elsewhere == [None]


def test_whatever_goes_wrong_with_lent_and_other_threads_at_once_everybody_is_told_and_nothing_is_left():
    outcomes, lock = Counter(), threading.Lock()

    def tell(future):
        try:
            assert future.result(SOON).value.size
            error = None
        except (Refusal, DataError, CancelledError) as caught:
            error = caught
        with lock:
            outcomes[told(error)] += 1

    def asked(draw):
        patience = draw.choice([30.0, 30.0, 0.02, 0.0])
        future = made.submit(request(draw.randint(1, 900), deadline=time.monotonic() + patience))
        if draw.random() < 0.1:
            future.cancel()
        return future

    async def on_a_loop(seed):
        draw = random.Random(seed)
        with lent(asyncio.get_running_loop().call_soon):
            for _ in range(60):
                futures = [asked(draw) for _ in range(draw.randint(1, 4))]
                await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
                for each in futures:
                    tell(each)
        return

    def on_a_thread(seed):
        draw = random.Random(seed)
        for _ in range(100):
            tell(asked(draw))

    with engine(Troubled(), replace(ONE, wait_s=0.05, ahead_rows=500)) as made:
        threads = [threading.Thread(target=lambda seed=seed: asyncio.run(on_a_loop(seed))) for seed in (1, 2)]
        threads += [threading.Thread(target=on_a_thread, args=(seed,)) for seed in (3, 4, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(3 * SOON)
        assert sum(outcomes.values()) >= 300 + 2 * 60
        assert {"answered", "BROKEN", "DataError", "TOO_LATE"} <= set(outcomes)
        check_nothing_left(made)


def test_a_lent_thread_that_finds_nothing_to_do_is_not_called_again():
    turns = deque()
    with engine(FakeScorer(), ONE) as made:
        with lent(turns.append):
            asked = made.submit(request(10))
        turns.popleft()()
        assert asked.result(0).value.size == 10
        assert not turns
        with lent(turns.append):
            gone = made.submit(request(10))
            assert gone.cancel()
        turns.popleft()()
        assert not turns
        eventually(lambda: made.stats().queued_rows == 0)
