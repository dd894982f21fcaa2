"""Sessions on the real engine, with a scorer whose answers tell whose side and which version they are of."""

import weakref
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest
from engine_fakes import FOUR, SOON, PlainPages
from sided import asking, context, rounds, value_of

from larix.errors import DataError
from larix.features import Binary
from larix.serve import Looked, Refusal, Stamp, User, Why
from larix.serve.engine import Engine, Target
from larix.serve.sessions import Sessions, pinned


@dataclass(eq=False)
class Telling:
    """Logits are ``value_of(user, items) + offset``; the user is read from the kept side. Runs are shared."""

    stamp: Stamp
    offset: float = 0.0
    tasks: tuple = (Binary("click"),)
    buckets: tuple = (8, 64)
    users: list = field(default_factory=list)

    def user(self, context):
        self.users.append(context["user"][0].as_py())
        return User(
            arrays={"user": context["user"].to_numpy().astype(np.float32)}, stamp=self.stamp, size_bytes=4
        )

    def look_up(self, user, candidates):
        items = candidates["item"].to_numpy().astype(np.float32)
        return Looked(user=user, rows=len(items), arrays={"item": items}, stamp=self.stamp)

    def score(self, looked):
        return [
            (value_of(each.user.arrays["user"], each.arrays["item"]) + self.offset).astype(np.float32)[
                :, None
            ]
            for each in looked
        ]

    def seconds(self, rows):
        return 1e-4


class Feed:
    """One model with a live version, which may be exchanged."""

    def __init__(self):
        self.live = None
        self.go(1)

    def go(self, number):
        scorer = Telling(Stamp(model="feed", version=f"v{number}"), offset=number / 4)
        self.live = Target(scorer=scorer, pages=PlainPages())
        return scorer

    def route(self, request):
        if request.model != "feed":
            raise Refusal(Why.UNKNOWN, f"there is no model '{request.model}'")
        return self.live


@pytest.fixture
def feed():
    return Feed()


@pytest.fixture
def engine(feed):
    with Engine(feed.route, FOUR) as engine:
        yield engine


@pytest.fixture
def sessions(engine, feed):
    return Sessions(pinned(engine, feed.route))


def test_the_engine_computes_a_side_once_and_scores_against_it(sessions, feed):
    session = sessions.open(model="feed", context=context(7)).result(SOON)
    for items in ([3, 1], range(200)):
        answer = sessions.score(asking(session.id, items, id=str(len(items)))).result(SOON)
        np.testing.assert_array_equal(answer.value, value_of(7, list(items)) + 0.25)
        assert (answer.id, answer.stamp.version) == (str(len(items)), "v1")
    assert feed.live.scorer.users == [7]


def test_a_session_stays_with_its_version_and_keeps_it_in_memory(sessions, feed, engine):
    first = weakref.ref(feed.live.scorer)
    session = sessions.open(model="feed", context=context(7)).result(SOON)
    feed.go(2)
    answer = sessions.score(asking(session.id, [1])).result(SOON)
    assert (answer.stamp.version, answer.value) == ("v1", value_of(7, [1]) + 0.25)
    other = sessions.open(model="feed", context=context(7)).result(SOON)
    assert sessions.score(asking(other.id, [1])).result(SOON).stamp.version == "v2"
    assert first() is not None
    sessions.close(session.id)
    engine.close()  # its threads may hold what they did last
    assert first() is None


def test_columns_are_those_of_its_version_when_that_has_left(engine, feed):
    there = {("feed", "v1"): object(), ("feed", "v2"): object()}
    one = there["feed", "v1"]
    sessions = Sessions(pinned(engine, feed.route, lambda model, version: there[model, version]))
    session = sessions.open(model="feed", context=context(7), bearer="ann").result(SOON)
    feed.go(2)
    del there["feed", "v1"]
    assert sessions.columns(session.id, bearer="ann") is one
    with pytest.raises(Refusal) as refusal:
        sessions.columns(session.id, bearer="bob")
    assert refusal.value.why is Why.UNKNOWN
    sessions.close(session.id, bearer="ann")
    with pytest.raises(Refusal) as refusal:
        sessions.columns(session.id, bearer="ann")
    assert refusal.value.why is Why.EXPIRED


def test_what_the_engine_refuses_is_refused(sessions, engine):
    assert sessions.open(model="search", context=context(7)).exception(SOON).why is Why.UNKNOWN
    late = sessions.open(model="feed", context=context(7), deadline=0.0).exception(SOON)
    assert late.why is Why.TOO_LATE
    session = sessions.open(model="feed", context=context(7)).result(SOON)
    assert sessions.score(asking(session.id, deadline=0.0)).exception(SOON).why is Why.TOO_LATE
    engine.drain(SOON)
    assert sessions.score(asking(session.id)).exception(SOON).why is Why.UNAVAILABLE
    assert sessions.stats.open == 1
    with pytest.raises(DataError, match="give one"):
        pinned(engine, lambda request: None)(asking(""))


def test_no_session_ever_answers_for_another_on_the_engine(sessions):
    assert rounds(sessions, range(20), offset=0.25) == []


def test_what_others_are_to_compute_again_they_are_given_with_the_sessions_context(engine, feed):
    told, shadowed = [], set()
    begin = pinned(
        engine, feed.route, follow=lambda asked, answer: told.append(asked), shadowed=shadowed.__contains__
    )
    sessions = Sessions(begin)
    whole = pa.concat_batches([context(user, city="x" * 1000) for user in range(50)])
    before = sessions.open(model="feed", context=whole.slice(7, 1)).result(SOON)
    plain = sessions.stats.side_bytes
    shadowed.add("feed")
    kept = sessions.open(model="feed", context=whole.slice(7, 1)).result(SOON)
    of_one = sessions.stats.side_bytes - 2 * plain
    assert 1000 <= of_one < 2000, "the context counts, and is not all that it was cut from"
    for session in (before, kept):
        sessions.score(asking(session.id, [3], id="r")).result(SOON)
    assert [each.context for each in told] == [None, whole.slice(7, 1)]
    assert [each.session for each in told] == [before.id, kept.id]
    sessions.close(kept.id)
    assert sessions.stats.side_bytes == plain
