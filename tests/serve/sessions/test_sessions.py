"""Open, score and close: retries, other bearers, and clocks."""

import math
import time

import numpy as np
import pytest
from sided import Desk, asking, context, opened, refused, value_of

from larix.errors import ConfigError, DataError
from larix.serve import Refusal, Why
from larix.serve.sessions import Sessions, SessionSettings

# Open, score, close.


def test_a_side_is_computed_once_and_scored_against_in_rounds(sessions, desk):
    session = opened(sessions, user=7)
    assert (session.stamp, session.ttl_s) == (desk.stamp, 60.0)
    for items in ([1, 2, 3], [4], range(100)):
        answer = sessions.score(asking(session.id, items)).result(0)
        np.testing.assert_array_equal(answer.value, value_of(7, list(items)))
    assert len(desk.begun) == 1
    sessions.close(session.id)
    assert refused(sessions.score(asking(session.id))).why is Why.EXPIRED


def test_what_is_asked_of_the_engine_is_the_request(sessions, desk):
    sessions.open(model="feed", context=context(3), version="v1", user=3, id="o", deadline=5.0).result(0)
    [begun] = desk.begun
    assert (begun.model, begun.version, begun.user, begun.id, begun.deadline) == ("feed", "v1", 3, "o", 5.0)
    assert len(begun.candidates) == 0
    session = opened(sessions, user=4)
    request = asking(session.id, id="r", deadline=6.0, count=1)
    sessions.score(request).result(0)
    assert desk.scored == [request]


def test_ids_are_long_and_never_twice(sessions):
    ids = {opened(sessions).id for _ in range(500)}
    assert len(ids) == 500
    assert min(map(len, ids)) >= 32


def test_open_and_score_is_both_in_one(sessions, desk):
    request = asking("", [1, 2], id="both", context=context(5), model="feed")
    session, answer = sessions.open_and_score(request, ttl_s=3.0, bearer="ann").result(0)
    np.testing.assert_array_equal(answer.value, value_of(5, [1, 2]))
    assert session.ttl_s == 3.0
    again = sessions.open_and_score(request, ttl_s=3.0, bearer="ann").result(0)
    assert again == (session, answer)
    assert again[1] is answer
    assert (len(desk.begun), len(desk.scored)) == (1, 1)
    assert sessions.score(asking(session.id, [9]), bearer="ann").result(0).value == value_of(5, [9])


def test_open_and_score_that_fails_leaves_no_session(clock):
    desk = Desk(held=True)
    sessions = Sessions(desk.begin, clock=clock)
    request = asking("", id="both", context=context(5), model="feed")
    both = [sessions.open_and_score(request) for _ in range(2)]
    desk.let()
    assert sessions.stats.open == 1
    desk.let(error=Refusal(Why.OVERLOADED, "full"))
    assert [refused(each).why for each in both] == [Why.OVERLOADED] * 2
    assert (sessions.stats.open, sessions.stats.side_bytes) == (0, 0)
    again = sessions.open_and_score(request)
    desk.let()
    desk.let()
    assert again.result(0)[1].value[0] == value_of(5, [1])


def test_open_and_score_that_nobody_waits_for_leaves_no_session(clock):
    desk = Desk(held=True)
    sessions = Sessions(desk.begin, clock=clock)
    both = sessions.open_and_score(asking("", id="both", context=context(5), model="feed"))
    desk.let()
    assert both.cancel()
    assert sessions.stats.open == 0


def test_a_repeated_open_and_score_that_fails_ends_no_session_that_was_there(clock):
    desk = Desk(held=True)
    sessions = Sessions(desk.begin, SessionSettings(answer_bytes=0), clock=clock)  # no answer is remembered
    request = asking("", id="both", context=context(5), model="feed")
    both = sessions.open_and_score(request)
    desk.let()
    desk.let()
    session, _ = both.result(0)
    again = sessions.open_and_score(request)
    desk.let(error=Refusal(Why.OVERLOADED, "full"))
    assert refused(again).why is Why.OVERLOADED
    assert sessions.stats.open == 1
    scored = sessions.score(asking(session.id, [1]))
    desk.let()
    assert scored.result(0).value == value_of(5, [1])


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, math.nan])
def test_a_ttl_must_be_above_zero(sessions, ttl_s):
    assert isinstance(sessions.open(model="feed", context=context(1), ttl_s=ttl_s).exception(0), DataError)


def test_a_long_ttl_is_the_longest(sessions):
    assert opened(sessions, ttl_s=math.inf).ttl_s == sessions.settings.longest_ttl_s


def test_without_a_context_nothing_is_opened(sessions):
    assert isinstance(sessions.open_and_score(asking("", model="feed")).exception(0), DataError)


def test_a_session_answers_for_its_own_version_only(sessions):
    session = opened(sessions)
    assert sessions.score(asking(session.id, model="feed", version="v1")).result(0)
    for other in ({"model": "search"}, {"version": "v2"}):
        error = sessions.score(asking(session.id, **other)).exception(0)
        assert isinstance(error, DataError)
        assert "'v1' of model 'feed'" in str(error)


# Whose it is.


def test_anothers_session_reads_as_unknown(sessions):
    session = opened(sessions, bearer="ann")
    mine = refused(sessions.score(asking(session.id), bearer="ann~"))
    made_up = refused(sessions.score(asking("made-up"), bearer="ann~"))
    assert (mine.why, str(mine)) == (made_up.why, str(made_up)) == (Why.UNKNOWN, str(made_up))
    with pytest.raises(Refusal, match="no such session"):
        sessions.close(session.id, bearer="bob")
    assert sessions.score(asking(session.id), bearer="ann").result(0)
    sessions.close(session.id, bearer="ann")
    assert refused(sessions.score(asking(session.id), bearer="bob")).why is Why.UNKNOWN
    assert refused(sessions.score(asking(session.id), bearer="ann")).why is Why.EXPIRED
    assert sessions.stats.unknown == 4


def test_a_request_id_is_the_bearers_own(sessions):
    ann, bob = opened(sessions, user=1, bearer="ann", id="o"), opened(sessions, user=2, bearer="bob", id="o")
    assert ann.id != bob.id
    one = sessions.score(asking(ann.id, [1], id="r"), bearer="ann").result(0)
    other = sessions.score(asking(bob.id, [1], id="r"), bearer="bob").result(0)
    assert (one.value, other.value) == (value_of(1, [1]), value_of(2, [1]))


def test_tokens_are_not_kept(sessions):
    opened(sessions, bearer="a-secret-token")
    [session] = sessions._register._sessions.values()
    assert b"secret" not in session.bearer
    assert len(session.bearer) == 16


# Retries.


def test_a_retry_of_open_gets_the_same_session(sessions, desk):
    one, other = opened(sessions, id="o"), opened(sessions, id="o")
    assert one is other
    assert len(desk.begun) == 1
    sessions.close(one.id)
    assert opened(sessions, id="o").id != one.id


def test_a_retry_of_open_while_the_first_is_under_way_joins_it(clock):
    desk = Desk(held=True)
    sessions = Sessions(desk.begin, clock=clock)
    asked = [sessions.open(model="feed", context=context(1), id="o") for _ in range(3)]
    desk.let()
    assert len({each.result(0).id for each in asked}) == 1
    assert len(desk.begun) == 1
    assert sessions.stats.open == 1


def test_a_retry_of_score_gets_the_very_same_answer(sessions, desk):
    session = opened(sessions)
    one, other = (sessions.score(asking(session.id, id="r")).result(0) for _ in range(2))
    assert one is other
    assert len(desk.scored) == 1
    assert sessions.stats.repeated == 1


def test_without_an_id_every_score_is_another(sessions, desk):
    session = opened(sessions)
    one, other = (sessions.score(asking(session.id)).result(0) for _ in range(2))
    assert one is not other
    assert len(desk.scored) == 2


def test_an_id_for_something_else_is_a_mistake(sessions):
    session = opened(sessions, user=1, id="o")
    assert isinstance(sessions.open(model="feed", context=context(2), id="o").exception(0), DataError)
    sessions.score(asking(session.id, [1], id="r")).result(0)
    for other in ({"items": [2]}, {"count": 1}, {"explain": True}, {"diversity": False}):
        other = asking(session.id, other.pop("items", [1]), id="r", **other)
        assert isinstance(sessions.score(other).exception(0), DataError)


def test_what_failed_is_computed_again(clock):
    desk = Desk(held=True)
    sessions = Sessions(desk.begin, clock=clock)
    first = sessions.open(model="feed", context=context(1), id="o")
    desk.let(error=Refusal(Why.OVERLOADED, "full"))
    assert refused(first).why is Why.OVERLOADED
    second = sessions.open(model="feed", context=context(1), id="o")
    desk.let()
    session = second.result(0)
    scored = sessions.score(asking(session.id, id="r"))
    desk.let(error=Refusal(Why.BROKEN, "broken"))
    assert refused(scored).why is Why.BROKEN
    scored = sessions.score(asking(session.id, id="r"))
    desk.let()
    assert scored.result(0)


def test_a_retry_with_a_later_deadline_outlives_the_first(clock):
    desk = Desk(held=True)
    sessions = Sessions(desk.begin, clock=clock)
    opening = sessions.open(model="feed", context=context(1))
    desk.let()
    session = opening.result(0)
    first = sessions.score(asking(session.id, id="r", deadline=1.0))
    second = sessions.score(asking(session.id, id="r", deadline=2.0))
    desk.let(error=Refusal(Why.TOO_LATE, "late"))
    assert refused(first).why is Why.TOO_LATE
    desk.let()
    assert second.result(0)
    assert [each.deadline for each in desk.scored] == [1.0, 2.0]


def test_nothing_is_begun_anew_for_a_session_that_was_closed_meanwhile(clock):
    desk = Desk(held=True)
    sessions = Sessions(desk.begin, clock=clock)
    opening = sessions.open(model="feed", context=context(1))
    desk.let()
    session = opening.result(0)
    first = sessions.score(asking(session.id, id="r", deadline=1.0))
    retry = sessions.score(asking(session.id, id="r", deadline=2.0))
    other = sessions.score(asking(session.id, id="other"))  # keeps the side in use
    sessions.close(session.id)
    desk.let(error=Refusal(Why.TOO_LATE, "late"))
    assert refused(first).why is Why.TOO_LATE
    assert refused(retry).why is Why.EXPIRED
    desk.let()
    assert other.result(0)
    assert len(desk.scored) == 2


def test_answers_beyond_the_bytes_are_forgotten_and_computed_again(desk, clock):
    sessions = Sessions(desk.begin, SessionSettings(answer_bytes=20_000), clock=clock)
    session = opened(sessions)
    for number in range(20):
        sessions.score(asking(session.id, id=str(number))).result(0)
        assert sessions.stats.answer_bytes <= 10_000
    assert sessions.stats.forgotten > 0
    sessions.score(asking(session.id, id="19")).result(0)
    assert len(desk.scored) == 20
    sessions.score(asking(session.id, id="0")).result(0)
    assert len(desk.scored) == 21
    sessions.close(session.id)
    assert (sessions.stats.answers, sessions.stats.answer_bytes) == (0, 0)


# How long.


def test_an_expired_session_says_so_and_what_to_do(sessions, clock):
    session = opened(sessions, ttl_s=5.0)
    clock.now_s += 5.0
    refusal = refused(sessions.score(asking(session.id)))
    assert refusal.why is Why.EXPIRED
    assert "not used for its ttl_s" in str(refusal)
    assert "open another" in str(refusal)
    assert (sessions.stats.expired, sessions.stats.ended, sessions.stats.side_bytes) == (1, 1, 0)


def test_every_use_makes_it_last(sessions, clock):
    session = opened(sessions, ttl_s=5.0)
    for _ in range(5):
        clock.now_s += 4.0
        sessions.sweep()
        sessions.score(asking(session.id)).result(0)
    clock.now_s += 5.0
    sessions.sweep()
    assert sessions.stats.open == 0


def test_a_retry_is_a_use_too(sessions, clock):
    session = opened(sessions, ttl_s=5.0)
    sessions.score(asking(session.id, id="r")).result(0)
    for _ in range(3):
        clock.now_s += 4.0
        sessions.score(asking(session.id, id="r")).result(0)  # nothing is computed
    assert sessions.columns(session.id) is None  # as this engine does not tell


def test_no_use_makes_it_last_longer_than_a_life(desk, clock):
    sessions = Sessions(desk.begin, SessionSettings(life_s=10.0), clock=clock)
    session = opened(sessions, ttl_s=5.0)
    for _ in range(3):
        clock.now_s += 3.0
        sessions.score(asking(session.id)).result(0)
    clock.now_s += 1.0
    assert "as long as a session may be" in str(refused(sessions.score(asking(session.id))))


def test_it_does_not_expire_under_a_score(clock):
    desk = Desk(held=True)
    sessions = Sessions(desk.begin, clock=clock)
    opening = sessions.open(model="feed", context=context(1), ttl_s=1.0)
    desk.let()
    session = opening.result(0)
    scored = sessions.score(asking(session.id))
    clock.now_s += 5.0
    sessions.sweep()
    desk.let()
    assert scored.result(0)
    clock.now_s += 0.9  # since the answer, which was a use
    scored = sessions.score(asking(session.id))
    desk.let()
    assert scored.result(0)
    clock.now_s += 1.1
    sessions.sweep()
    assert sessions.stats.open == 0


def test_how_the_oldest_ended_is_forgotten(desk, clock):
    sessions = Sessions(desk.begin, SessionSettings(ended=2), clock=clock)
    ids = [opened(sessions).id for _ in range(3)]
    for id in ids:
        sessions.close(id)
    assert [refused(sessions.score(asking(id))).why for id in ids] == [Why.UNKNOWN, Why.EXPIRED, Why.EXPIRED]


def test_closing_again_is_no_mistake(sessions, clock):
    session = opened(sessions)
    sessions.close(session.id)
    sessions.close(session.id)
    expired = opened(sessions, ttl_s=1.0)
    clock.now_s += 2.0
    sessions.close(expired.id)
    assert (sessions.stats.closed, sessions.stats.expired) == (1, 1)


def test_the_thread_ends_what_is_not_used(desk):
    sessions = Sessions(desk.begin, SessionSettings(tick_s=0.01)).start()
    with pytest.raises(ConfigError, match="already"):
        sessions.start()
    opened(sessions, ttl_s=0.02)
    until = time.monotonic() + 20
    while sessions.stats.open and time.monotonic() < until:
        time.sleep(0.01)
    assert (sessions.stats.open, sessions.stats.expired) == (0, 1)
    sessions.stop()
    sessions.stop()
