"""Many sessions: what they may take, how they are drained, and that none ever answers for another."""

import gc
import math
import random
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import stock
from shop_bundle import exported
from sided import Desk, asking, context, opened, refused, rounds, value_of

from larix.serve import Request, Why
from larix.serve.engine import Engine, EngineSettings
from larix.serve.models import Loading, Repository
from larix.serve.sessions import Sessions, SessionSettings, pinned
from larix.serve.sessions.register import OBJECTS

# What is bounded.


def test_sessions_are_refused_beyond_the_bytes_until_some_end(clock):
    desk = Desk(size=OBJECTS)
    sessions = Sessions(desk.begin, SessionSettings(side_bytes=8 * OBJECTS), clock=clock)
    mine = [opened(sessions, bearer="ann") for _ in range(2)]
    refusal = refused(sessions.open(model="feed", context=context(1), bearer="ann"))
    assert refusal.why is Why.OVERLOADED
    assert 0 < refusal.retry_after_s <= 60.1
    others = [opened(sessions, bearer="bob") for _ in range(2)]
    assert refused(sessions.open(model="feed", context=context(1), bearer="cay")).why is Why.OVERLOADED
    assert len(desk.begun) == 4  # nothing was computed for those refused
    sessions.close(mine[0].id, bearer="ann")
    assert sessions.stats.side_bytes == 6 * OBJECTS
    assert opened(sessions, bearer="cay")
    assert others
    assert (sessions.stats.full, sessions.stats.open, sessions.stats.bearers) == (2, 4, 3)


def test_one_that_is_too_large_is_let_go_of(clock):
    desk = Desk(size=10 * OBJECTS)
    sessions = Sessions(desk.begin, SessionSettings(side_bytes=8 * OBJECTS), clock=clock)
    assert refused(sessions.open(model="feed", context=context(1))).why is Why.TOO_LARGE
    assert (sessions.stats.open, sessions.stats.side_bytes) == (0, 0)


def test_closing_frees_the_bytes_at_once_or_with_the_last_score(clock):
    desk = Desk(held=True)
    sessions = Sessions(desk.begin, clock=clock)
    opening = sessions.open(model="feed", context=context(1))
    desk.let()
    session = opening.result(0)
    scored = [sessions.score(asking(session.id, id=str(number))) for number in range(2)]
    side = weakref.ref(sessions._register.get(session.id).side)
    sessions.close(session.id)
    assert (sessions.stats.open, sessions.stats.side_bytes > 0) == (0, True)
    desk.let()
    assert sessions.stats.side_bytes > 0
    desk.let()
    assert sessions.stats.side_bytes == 0
    assert all(each.result(0) for each in scored)  # what was under way was answered
    desk.begun.clear()
    gc.collect()
    assert side() is None  # although the futures are still held here
    assert sessions.stats.answers == 0  # nothing is remembered of one that was closed meanwhile


def test_a_version_is_in_memory_until_its_last_session_ends(sessions):
    sides = [opened(sessions) for _ in range(2)]
    held = [weakref.ref(each.side) for each in sessions._register._sessions.values()]
    for session, side in zip(sides, held, strict=True):
        assert side() is not None
        sessions.close(session.id)
        assert side() is None  # at once: no collector is waited for


def test_what_was_computed_for_nobody_is_not_kept(clock):
    desk = Desk(held=True)
    sessions = Sessions(desk.begin, clock=clock)
    opening = sessions.open(model="feed", context=context(1))
    assert opening.cancel()
    assert desk.let().cancelled()
    assert sessions.stats.open == 0


def test_draining_opens_no_more_and_waits_for_the_rest(desk):
    sessions = Sessions(desk.begin)
    one, other = opened(sessions), opened(sessions)
    done = []
    drain = threading.Thread(target=lambda: done.append(sessions.drain(60.0)))
    drain.start()
    while refused_open(sessions) is None:
        time.sleep(0.001)
    assert refused_open(sessions).why is Why.UNAVAILABLE
    assert sessions.score(asking(one.id)).result(0)
    sessions.close(one.id)
    sessions.close(other.id)
    drain.join(20)
    assert done == [True]


def refused_open(sessions):
    future = sessions.open(model="feed", context=context(1), ttl_s=0.001)
    return future.exception(0)


def test_draining_ends_those_left_and_they_are_told(sessions):
    session = opened(sessions)
    assert not sessions.drain(0.0)
    refusal = refused(sessions.score(asking(session.id)))
    assert refusal.why is Why.EXPIRED
    assert "the server stops" in str(refusal)
    assert sessions.stats.drained == 1
    assert sessions.drain(0.0)


# Many at once.


def test_no_session_ever_answers_for_another():
    with ThreadPoolExecutor(6) as executor:
        desk = Desk(executor=executor)
        sessions = Sessions(desk.begin)
        assert rounds(sessions, range(50)) == []
        assert sessions.stats.open == 50
        assert sessions.stats.repeated > 0


def test_the_test_above_notices_one_mixed_up_side():
    class Leaky(Desk):
        """Forgets whose side it holds where two threads meet: every side is the last one opened."""

        def begin(self, request):
            opening = super().begin(request)
            self.last = opening.result(20)
            side = opening.result(20)
            side.score = lambda request: self.last._desk.run(lambda: self.last._answer(request))
            return opening

    with ThreadPoolExecutor(6) as executor:
        assert rounds(Sessions(Leaky(executor=executor).begin), range(50))


def test_sessions_come_and_go_under_threads_and_the_books_are_empty_in_the_end():
    with ThreadPoolExecutor(4) as executor:
        desk = Desk(executor=executor)
        sessions = Sessions(desk.begin, SessionSettings(tick_s=0.005)).start()
        kinds = set()

        def live(seed):
            random_ = random.Random(seed)
            for number in range(60):
                user, bearer = random_.randrange(1000), f"b{seed % 3}"
                session = sessions.open(
                    model="feed",
                    context=context(user),
                    bearer=bearer,
                    id=f"{seed}-{number}",
                    ttl_s=random_.choice([0.001, 5.0]),
                ).result(20)
                futures = [
                    sessions.score(asking(session.id, [n], id=str(n)), bearer=bearer) for n in range(4)
                ]
                if random_.random() < 0.5:
                    sessions.close(session.id, bearer=bearer)
                for n, each in enumerate(futures):
                    error = each.exception(20)
                    if error is None:
                        assert each.result().value == value_of(user, [n])
                    else:
                        kinds.add(error.why)
                sessions.close(session.id, bearer=bearer)

        with ThreadPoolExecutor(8) as workers:
            for each in [workers.submit(live, seed) for seed in range(8)]:
                each.result(60)
        sessions.stop()
        stats = sessions.stats
        assert kinds <= {Why.EXPIRED}
        assert (stats.open, stats.side_bytes, stats.answers, stats.answer_bytes, stats.bearers) == (0,) * 5
        assert stats.opened == stats.closed + stats.expired == 8 * 60


class Sharing:
    """A scorer whose runs take long, and no longer for many requests than for one: so they share runs whenever they can."""

    def __init__(self, scorer):
        self._scorer = scorer

    def __getattr__(self, name):
        return getattr(self._scorer, name)

    def score(self, looked):
        time.sleep(0.002)
        return self._scorer.score(looked)

    def seconds(self, rows):
        return 0.002 if self._scorer.seconds(rows) < math.inf else math.inf


@pytest.fixture
def shop(tmp_path):
    """A trained network of a bundle, on an engine."""
    exported(tmp_path / "shop", "step-7")
    repository = Repository({"shop": tmp_path / "shop"}, Loading(streams=2))
    repository.load("shop")

    def route(request):
        target = repository.route(request)
        return replace(target, scorer=Sharing(target.scorer))

    with Engine(route, EngineSettings(workers=4, sparse=3, dense=1, wait_s=60.0)) as engine:
        yield engine, Sessions(pinned(engine, route))
    repository.close()


def test_sessions_of_a_trained_network_that_share_runs_score_their_own_users(shop):
    engine, sessions = shop
    signature = stock.signature()
    asked = [
        (signature.context_of(person, 0)[0], signature.candidates_of(candidates)[0])
        for person, candidates in stock.warm(rows=40).requests(signature)
    ]
    alone, wrong = [], []
    for person, candidates in asked:
        alone.append(engine.rank(Request(id="r", context=person, candidates=candidates, model="shop")))
    assert len({tuple(answer.value) for answer in alone}) == len(asked)  # or a leak would not show
    opening = [
        sessions.open(model="shop", context=person, bearer=f"b{number % 3}")
        for number, (person, _) in enumerate(asked)
    ]
    ids = [each.result(20).id for each in opening]

    def score(seed):
        order = list(range(len(asked))) * 3
        random.Random(seed).shuffle(order)
        under_way = []
        for number in order:
            request = asking(ids[number], [], id=f"{seed}-{len(under_way)}")
            request = replace(request, candidates=asked[number][1])
            under_way.append((number, sessions.score(request, bearer=f"b{number % 3}")))
        for number, future in under_way:
            if not np.allclose(future.result(60).value, alone[number].value, atol=1e-5):
                wrong.append(number)

    with ThreadPoolExecutor(6) as threads:
        for each in [threads.submit(score, seed) for seed in range(6)]:
            each.result(120)
    shared = engine.stats().run_requests
    assert wrong == []
    assert sum(shared.counts[1:]) > 0, "no run was shared: a leak between requests of a run could not show"
