import pytest
from sided import Clock, Desk

from larix.serve.sessions import Sessions, SessionSettings


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def sessions(desk, clock):
    return Sessions(desk.begin, SessionSettings(), clock=clock)
