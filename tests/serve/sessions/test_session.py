import pytest
from sided import STAMP, Desk, FakeSide

from larix.serve.service import Opened
from larix.serve.sessions.session import Ending, Session


@pytest.fixture
def session():
    opened = Opened(id="s", stamp=STAMP, ttl_s=10.0, missing={})
    return Session(
        opened=opened,
        bearer=b"ann",
        side=FakeSide(Desk(), 1, {}),
        size=1,
        used_s=100.0,
        last_s=130.0,
        opening=(b"ann", "o"),
    )


def test_it_ends_a_ttl_after_its_last_use(session):
    assert session.ends_by(109.9) is None
    assert session.ends_by(110.0) is Ending.UNUSED
    session.used_s = 105.0
    assert session.ends_by(110.0) is None
    assert session.ends_by(115.0) is Ending.UNUSED


def test_it_does_not_end_while_it_is_in_use_unless_it_is_too_old(session):
    session.uses = 1
    assert session.ends_by(120.0) is None
    assert session.ends_by(130.0) is Ending.OLD


def test_it_gets_no_older_than_a_life(session):
    session.used_s = 125.0
    assert session.ends_s == 130.0
    assert session.ends_by(130.0) is Ending.OLD


def test_how_it_ended_stays(session):
    session.ending = Ending.CLOSED
    assert session.ends_by(0.0) is Ending.CLOSED
