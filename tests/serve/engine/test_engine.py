import gc
import logging
import math
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from engine_fakes import (
    CONTEXT,
    FOUR,
    ONE,
    SOON,
    STAMP,
    FakeScorer,
    Gated,
    JointScorer,
    PlainPages,
    engine,
    eventually,
    request,
    target,
)

from larix.errors import DataError, LarixError
from larix.serve.engine import Engine, Target, stages
from larix.serve.refusal import Refusal, Why
from larix.serve.scorer import User


def test_one_who_asks_and_waits_is_answered_on_the_own_thread():
    threads = set()

    class Seeing(FakeScorer):
        def score(self, looked):
            threads.add(threading.current_thread())
            return super().score(looked)

    with engine(Seeing()) as made:
        for rows in range(1, 40):
            answer = made.rank(request(rows, id=str(rows), count=3))
            assert answer.id == str(rows)
            assert answer.stamp == STAMP
            assert answer.order.tolist() == list(range(rows - 1, max(rows - 4, -1), -1))
            assert list(answer.seconds) == ["queue", "sparse", "wait", "dense", "page", "whole"]
            assert all(seconds >= 0 for seconds in answer.seconds.values())
        assert made.stats().inline == 39
    assert threads == {threading.current_thread()}


@pytest.mark.parametrize("ask", ["rank", "submit"])
def test_everybody_gets_the_own_answer_once_whoever_else_asks(ask):
    scorer = Gated(seconds=0.0005)
    with engine(scorer, replace(FOUR, workers=3, dense=2)) as made:

        def one(number):
            rows = 1 + number * 37 % 700
            asked = request(rows, id=str(number))
            answer = made.rank(asked) if ask == "rank" else made.submit(asked).result(SOON)
            assert answer.id == str(number)
            assert answer.value.tolist() == list(range(rows))
            return number

        with ThreadPoolExecutor(8) as clients:
            assert list(clients.map(one, range(400))) == list(range(400))
        stats = made.stats()
        assert (stats.admitted, stats.queued_rows, stats.queued_bytes) == (400, 0, 0)
        assert not any(stats.queued.values())
        assert not any(stats.running.values())
        assert made.versions()[0].answered == 400
    assert scorer.most <= 2
    assert max(map(sum, scorer.runs)) <= 512


def test_a_large_request_comes_back_in_order_whatever_runs_it_went_in():
    with engine(FakeScorer()) as made:
        answer = made.submit(request(5000)).result(SOON)
        assert answer.value.tolist() == list(range(5000))
        assert made.stats().split == 1
        assert made.versions()[0].runs >= 10


def test_what_waits_shares_a_run():
    scorer = Gated(open=False, base=0.01)
    with engine(scorer, replace(ONE, workers=2, sparse=1)) as made:
        first = made.submit(request(10))
        assert scorer.begun.wait(SOON)
        others = [made.submit(request(20, id=str(number))) for number in range(5)]
        eventually(lambda: made.stats().queued["dense"] == 5)
        scorer.gate.set()
        assert [each.result(SOON).id for each in others] == list("01234")
        assert first.result(SOON)
        assert scorer.runs == [[10], [20] * 5]
        assert made.stats().run_requests.count == 2


def test_more_than_can_be_answered_is_refused_with_when_to_come_again():
    scorer = Gated(open=False)
    with engine(scorer, replace(ONE, queued_rows=100)) as made:
        first = made.submit(request(60))
        assert scorer.begun.wait(SOON)
        for ask in (made.rank, lambda asked: made.submit(asked).result(SOON)):
            with pytest.raises(Refusal, match="come again later") as raised:
                ask(request(60))
            assert raised.value.why is Why.OVERLOADED
            assert raised.value.retry_after_s > 0
        scorer.gate.set()
        assert first.result(SOON)
        assert made.rank(request(60)).order.shape == (60,)
        assert made.stats().shed == {"OVERLOADED": 2}


def test_when_there_is_no_room_one_need_not_ask():
    scorer = Gated(open=False)
    with engine(scorer, replace(ONE, queued_rows=10)) as made:
        made.check_room()
        waits = made.submit(request(10))
        for refused in (1, 2):
            with pytest.raises(Refusal, match="the server is full") as raised:
                made.check_room()
            assert raised.value.why is Why.OVERLOADED
            assert raised.value.retry_after_s > 0
            assert made.stats().shed == {"OVERLOADED": refused}
        assert scorer.begun.wait(SOON)
        scorer.gate.set()
        assert len(waits.result(SOON).order) == 10
        made.check_room()
        assert made.stats().admitted == 1


@pytest.mark.parametrize("ask", ["rank", "submit"])
def test_a_model_that_fails_breaks_one_request_and_no_other(ask, caplog):
    scorer = Gated(poison=13, error=ValueError("the secret cause"))
    with engine(scorer) as made, caplog.at_level(logging.ERROR, "larix.serve.engine"):
        for rows in (12, 13, 14):
            asked = request(rows)
            if rows != 13:
                assert made.submit(asked).result(SOON).value.shape == (rows,)
                continue
            with pytest.raises(
                Refusal, match="'feed' version '1' failed in the dense stage: ValueError"
            ) as raised:
                made.rank(asked) if ask == "rank" else made.submit(asked).result(SOON)
            assert raised.value.why is Why.BROKEN
            assert "secret" not in str(raised.value)
        assert made.stats().replaced == 0
    assert "the secret cause" in caplog.text


def test_a_neighbour_in_the_same_run_does_not_suffer():
    scorer = Gated(open=False, poison=13, error=ValueError(), base=0.01)
    with engine(scorer, replace(ONE, workers=2, sparse=1)) as made:
        first = made.submit(request(10))
        assert scorer.begun.wait(SOON)
        others = [made.submit(request(rows)) for rows in (12, 13, 14)]
        eventually(lambda: made.stats().queued["dense"] == 3)
        scorer.gate.set()
        assert [first.result(SOON).value.size, others[0].result(SOON).value.size] == [10, 12]
        assert others[2].result(SOON).value.size == 14
        assert others[1].exception(SOON).why is Why.BROKEN


def test_what_waits_is_looked_up_together_and_a_malformed_neighbour_harms_nobody():
    class Strict(JointScorer):
        def look_up(self, user, candidates):
            gate.wait(SOON)
            if len(candidates) == 13:
                raise DataError("13 is malformed")
            return super().look_up(user, candidates)

    gate = threading.Event()
    scorer = Strict()
    with engine(scorer, ONE) as made:
        first = made.submit(request(10))
        eventually(lambda: made.stats().running["sparse"] == 1)
        others = [made.submit(request(rows)) for rows in (12, 13, 14)]
        gate.set()
        assert [each.result(SOON).value.size for each in (first, others[0], others[2])] == [10, 12, 14]
        with pytest.raises(DataError, match="13 is malformed"):
            others[1].result(SOON)
        assert [12, 13, 14] in scorer.joint
        assert made.rank(request(7)).value.size == 7


def test_a_run_that_gives_too_few_logits_is_broken_not_mixed_up():
    class Short(FakeScorer):
        def score(self, looked):
            return [logits[:-1] for logits in super().score(looked)]

    with engine(Short()) as made, pytest.raises(Refusal, match="failed in the dense stage"):
        made.rank(request(10))


def test_a_malformed_request_is_told_so_as_the_model_says_it():
    class Strict(FakeScorer):
        def look_up(self, user, candidates):
            raise DataError("column 'item' row 3 is 'x'; expected int64")

    with engine(Strict()) as made:
        for ask in (made.rank, lambda asked: made.submit(asked).result(SOON)):
            with pytest.raises(DataError, match="column 'item' row 3"):
                ask(request(10))
            with pytest.raises(DataError, match="has no context"):
                ask(replace(request(10), context=None))
        assert made.versions()[0].refused == {"DATA": 2}
        assert made.stats().shed == {"DATA": 2}
        assert made.stats().queued_rows == 0


class Moving(FakeScorer):
    """Its rows change between the first ``times`` pairs of look-ups."""

    def __init__(self, times):
        super().__init__()
        self.times, self.users = times, 0

    def user(self, context):
        self.users += 1
        return User(arrays={}, stamp=replace(STAMP, rows=self.users - 1 if self.users <= self.times else 100))

    def look_up(self, user, candidates):
        now = self.users if self.users <= self.times else 100
        return replace(super().look_up(user, candidates), stamp=replace(STAMP, rows=now))


def test_an_answer_is_of_one_state_even_if_rows_change_while_it_is_looked_up():
    scorer = Moving(2)
    with engine(scorer) as made:
        assert made.rank(request(10)).stamp.rows == 100
        assert scorer.users == 3


def test_rows_that_never_hold_still_are_an_error_not_a_mixture():
    with engine(Moving(1000)) as made, pytest.raises(Refusal, match="change faster") as raised:
        made.rank(request(10))
    assert raised.value.why is Why.UNAVAILABLE


def test_a_session_s_side_is_computed_once_and_its_scores_leave_it_alone():
    class Counting(FakeScorer):
        users = 0

        def user(self, context):
            type(self).users += 1
            return super().user(context)

    with engine(Counting()) as made:
        goal = target(Counting())
        user = made.open(goal, CONTEXT).result(SOON)
        kept = replace(goal, user=user)
        for rows in (10, 20):
            for ask in (made.rank, lambda *asked: made.submit(*asked).result(SOON)):
                answer = ask(replace(request(rows), context=None), kept)
                assert answer.value.size == rows
        assert Counting.users == 1
        assert kept.costs is goal.costs
        assert kept.runs is goal.runs


def test_another_network_over_the_same_rows_has_its_own_costs_of_runs():
    goal = target(FakeScorer())
    other = replace(goal, scorer=FakeScorer(base=1.0))
    assert other.costs is goal.costs
    assert other.runs is not goal.runs
    assert other.runs((10,)) > 1.0


def test_nothing_to_rank_is_answered_with_nothing():
    scorer = FakeScorer()
    with engine(scorer) as made:
        assert made.rank(request(0)).order.size == 0
        assert made.submit(request(0)).result(SOON).value.size == 0
    assert not scorer.runs


def test_an_unknown_model_is_the_router_s_to_tell():
    def route(asked):
        raise Refusal(Why.UNKNOWN, f"there is no model '{asked.model}'")

    with Engine(route, ONE) as made:
        for ask in (made.rank, lambda asked: made.submit(asked).result(SOON)):
            with pytest.raises(Refusal, match="no model 'x'"):
                ask(request(10, model="x"))
        assert made.stats().shed == {"UNKNOWN": 2}


def test_what_is_missing_is_counted_and_told():
    class Missing(FakeScorer):
        def look_up(self, user, candidates):
            return replace(super().look_up(user, candidates), missing={"item": 3})

    with engine(Missing()) as made:
        assert made.rank(request(10)).missing == {"item": 3}
        assert made.submit(request(10)).result(SOON).missing == {"item": 3}
        [version] = made.versions()
        assert version.missing == {"item": 6}
        assert (version.answered, version.candidates, version.runs) == (2, 20, 2)
        assert version.seconds["whole"].count == 2
        assert version.seconds["dense"].total <= version.seconds["whole"].total


def test_data_that_only_the_server_made_is_not_the_client_s_mistake():
    class Infinite(PlainPages):
        def answer(self, request, looked, logits, seconds):
            raise DataError("relevance of candidate 3 is inf")

    with Engine(lambda _: Target(scorer=FakeScorer(), pages=Infinite()), ONE) as made:
        with pytest.raises(Refusal, match="failed in the page stage: DataError") as raised:
            made.rank(request(10))
        assert raised.value.why is Why.BROKEN


def test_several_models_are_answered_at_once_each_by_its_own():
    class Signed(PlainPages):
        def __init__(self, sign):
            self.sign = sign

        def answer(self, request, looked, logits, seconds):
            return super().answer(request, looked, self.sign * logits, seconds)

    goals = {
        name: Target(scorer=Gated(seconds=0.0005, base=0.01), pages=Signed(sign))
        for name, sign in (("up", 1), ("down", -1))
    }
    with Engine(lambda asked: goals[asked.model], replace(FOUR, workers=2, dense=1)) as made:
        asked = [(name, made.submit(request(9, model=name))) for name in ["up", "down"] * 50]
        for name, future in asked:
            order = np.arange(9) if name == "down" else np.arange(9)[::-1]
            assert future.result(SOON).order.tolist() == order.tolist()


@pytest.mark.parametrize("ask", ["rank", "submit", "open"])
@pytest.mark.parametrize("how", ["large", "late", "empty", "unfit", "broken"])
def test_a_version_outlives_none_of_those_whom_it_did_not_answer(ask, how, monkeypatch):
    # Errors remember where they were raised. Held by what they remember, they would keep a request and its network until all
    # of memory is searched for such circles, which a server puts off for hours.
    class Failing(FakeScorer):
        def user(self, context):
            if how == "unfit":
                raise DataError("column 'user' row 0 is too long")
            if how == "broken":
                raise ValueError("a bug")
            return super().user(context)

    monkeypatch.setattr(stages.logger, "disabled", True)  # pytest keeps what is logged
    asked = request(10, deadline=time.monotonic() - 1 if how == "late" else math.inf)
    if how == "empty":
        asked = replace(asked, context=None)
    goals = [target(Failing())]
    gone = weakref.ref(goals[0].scorer)
    settings = replace(ONE, queued_rows=9 if how == "large" else 1000)
    gc.collect()
    gc.disable()
    try:
        with Engine(lambda _: goals[0], settings) as made:
            for _ in range(3):
                with suppress(LarixError):
                    if ask == "rank":
                        made.rank(asked)
                    elif ask == "submit":
                        made.submit(asked).result(SOON)
                    else:
                        made.open(goals[0], CONTEXT, deadline=asked.deadline).result(SOON)
            goals[:] = [target()]
            made.rank(request(1))
            eventually(lambda: gone() is None)
    finally:
        gc.enable()


def test_who_is_refused_before_being_read_leaves_nothing_behind():
    with engine(Gated(open=False), replace(ONE, queued_rows=10)) as made:
        made.submit(request(10))
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                with pytest.raises(Refusal):
                    made.check_room()
            assert not gc.collect()
        finally:
            gc.enable()
