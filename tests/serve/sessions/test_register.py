"""The register against a plain list of sessions, by random histories on a clock of the test's own."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from sided import Clock, Desk, FakeSide

from larix.errors import DataError
from larix.serve import Refusal, Why
from larix.serve.sessions import SessionSettings
from larix.serve.sessions.register import OBJECTS, Register
from larix.serve.sessions.session import Ending

LIMITS = SessionSettings(
    side_bytes=10 * OBJECTS, bearer_share=0.6, ttl_s=10.0, life_s=60.0, tick_s=0.5, ended=8
)
BEARERS = (b"ann", b"bob", b"cay")


def side(size):
    return FakeSide(Desk(), 1, {"a": np.zeros(size, np.uint8)})


class Histories(RuleBasedStateMachine):
    """The oracle: for each id that there ever was its bearer, size, ttl, uses under way, when used and made, and its ending."""

    ids = Bundle("ids")

    def __init__(self):
        super().__init__()
        self.clock, self.told = Clock(), []
        self.register = Register(LIMITS, self.clock, self.told.append)
        self.known, self.order, self.number = {}, [], 0

    def over(self, known):
        if known["ending"] is None:
            if self.clock.now_s >= known["born"] + 60.0:
                return Ending.OLD
            if not known["uses"] and self.clock.now_s >= known["used"] + known["ttl"]:
                return Ending.UNUSED
        return known["ending"]

    def noticed(self, id, ending):
        """``ending`` becomes known to the register at this time."""
        if self.known[id]["ending"] is None and ending is not None:
            self.known[id]["ending"] = ending
            self.order.append(id)

    def taken(self, bearer=None):
        return sum(
            each["size"]
            for each in self.known.values()
            if (each["ending"] is None or each["uses"]) and bearer in (None, each["bearer"])
        )

    def swept(self):
        for id, known in self.known.items():
            self.noticed(id, self.over(known))

    @rule(
        target=ids,
        bearer=st.sampled_from(BEARERS),
        size=st.integers(0, 3 * OBJECTS),
        ttl=st.sampled_from([1.0, 5.0, 30.0]),
    )
    def open(self, bearer, size, ttl):
        self.register.sweep()
        self.swept()
        size_known = size + OBJECTS
        each, whole = int(LIMITS.side_bytes * 0.6), LIMITS.side_bytes
        fits = self.taken(bearer) + size_known <= each and self.taken() + size_known <= whole
        self.number += 1
        if not fits:
            with pytest.raises(Refusal) as refusal:
                self.register.add(side(size), ttl, (bearer, str(self.number)), 0)
            assert refusal.value.why is Why.OVERLOADED
            assert refusal.value.retry_after_s >= LIMITS.tick_s
            return "none"
        opened = self.register.add(side(size), ttl, (bearer, str(self.number)), self.number)
        assert opened.id not in self.known
        now = self.clock.now_s
        self.known[opened.id] = {
            "bearer": bearer,
            "size": size_known,
            "ttl": ttl,
            "uses": 0,
            "used": now,
            "born": now,
            "ending": None,
            "opening": (bearer, str(self.number)),
            "mark": self.number,
        }
        return opened.id

    @rule(id=ids, bearer=st.sampled_from(BEARERS), use=st.booleans())
    def find(self, id, bearer, use):
        known = self.known.get(id)
        if known is not None:
            self.noticed(id, self.over(known))
        if known is not None and known["bearer"] == bearer and known["ending"] is None:
            session = self.register.find(id, bearer)
            assert session.opened.id == id
            known["used"] = self.clock.now_s
            if use:
                session.uses += 1
                known["uses"] += 1
                known.setdefault("session", session)
            return
        with pytest.raises(Refusal) as refusal:
            self.register.find(id, bearer)
        mine = known is not None and known["bearer"] == bearer
        remembered = id in self.order[-LIMITS.ended :]
        assert refusal.value.why is (Why.EXPIRED if mine and remembered else Why.UNKNOWN)
        if mine and remembered:
            assert known["ending"] in str(refusal.value)

    @rule(id=ids)
    def finish(self, id):
        known = self.known.get(id)
        if known is not None and known["uses"]:
            known["uses"] -= 1
            known["used"] = self.clock.now_s
            self.register.used(known["session"])

    @rule(id=ids)
    def close(self, id):
        session = self.register.get(id)
        if session is not None:
            self.register.end(session, Ending.CLOSED)
            self.noticed(id, Ending.CLOSED)

    @rule(id=ids, other=st.booleans())
    def retry_of_open(self, id, other):
        known = self.known.get(id)
        if known is None:
            return
        before = known["ending"]
        if other and before is None:
            with pytest.raises(DataError):
                self.register.opened_by(known["opening"], known["mark"] + 1)
            return
        self.noticed(id, self.over(known))
        found = self.register.opened_by(known["opening"], known["mark"])
        assert (found is None) == (known["ending"] is not None)
        if found is not None:
            assert found.id == id
            known["used"] = self.clock.now_s

    @rule(
        seconds=st.sampled_from([0.5, 1.0, 5.0, 20.0]), sweep=st.booleans()
    )  # whole ticks: a sweep is exact
    def wait(self, seconds, sweep):
        self.clock.now_s += seconds
        if sweep:
            self.register.sweep()
            self.swept()

    @invariant()
    def the_books_agree(self):
        for id, known in self.known.items():
            assert (self.register.get(id) is None) == (known["ending"] is not None)
        assert self.register.bytes.total == self.taken()
        for bearer in BEARERS:
            assert self.register.bytes.of(bearer) == self.taken(bearer)
        assert sorted(self.told) == sorted(self.order)
        assert self.register.bytes.total <= LIMITS.side_bytes


Histories.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
test_it_keeps_its_books_through_any_history = Histories.TestCase


def test_a_side_that_alone_is_too_large_is_told_so():
    register = Register(LIMITS, Clock(), lambda id: None)
    with pytest.raises(Refusal) as refusal:
        register.add(side(7 * OBJECTS), 1.0, (b"ann", "1"), 0)
    assert refusal.value.why is Why.TOO_LARGE
    assert refusal.value.retry_after_s is None


def test_when_to_come_again_is_when_the_next_session_may_end():
    clock = Clock()
    register = Register(LIMITS, clock, lambda id: None)
    for number in range(6):
        register.add(side(0), 7.0, (b"ann", str(number)), 0)
    clock.now_s += 2
    with pytest.raises(Refusal, match="you hold") as refusal:
        register.add(side(0), 7.0, (b"ann", "more"), 0)
    assert refusal.value.retry_after_s == pytest.approx(5.0, abs=LIMITS.tick_s)
    assert register.counts.full == 1


def test_a_side_counts_for_all_that_its_arrays_keep_in_memory():
    register = Register(SessionSettings(), Clock(), lambda id: None)
    whole = np.zeros((64, 1024), np.float32)
    register.add(FakeSide(Desk(), 1, {"a": whole[3], "b": whole[4]}), 1.0, (b"ann", "1"), 0)
    assert register.bytes.total == OBJECTS + whole.nbytes
