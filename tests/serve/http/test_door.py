import pytest

from larix.serve.http import Door, Tokens
from larix.serve.http.reply import Rejected

TOKEN = "0123456789abcdef"
READ, CHANGE, OPEN = (
    {"public": False, "changes": False},
    {"public": False, "changes": True},
    {"public": True, "changes": False},
)


def test_with_tokens_everything_but_what_is_public_needs_one():
    door = Door(Tokens([TOKEN]))
    for what in (READ, CHANGE):
        with pytest.raises(Rejected) as told:
            door.enter({"host": "larix.example"}, **what)
        assert told.value.status == 401
        assert told.value.headers[0][0] == "www-authenticate"
        assert len(door.enter({"host": "larix.example", "authorization": f"Bearer {TOKEN}"}, **what)) == 16
    assert door.enter({}, **OPEN) == ""


@pytest.mark.parametrize(
    "host", ["127.0.0.1:80", "127.3.2.1", "localhost:9", "LOCALHOST", "[::1]:80", "[::1]"]
)
def test_without_tokens_this_machine_is_let_in(host):
    assert Door().enter({"host": host}, **CHANGE) == ""


@pytest.mark.parametrize(
    "host", ["evil.example", "10.0.0.1:80", "127.0.0.1.evil.example", "", "[::2]:80", "localhost.evil", ":"]
)
def test_without_tokens_no_other_name_is_answered_to(host):
    with pytest.raises(Rejected) as told:
        Door().enter({"host": host}, **READ)
    assert told.value.status == 421


def test_a_page_of_another_site_may_not_ask():
    own = {"host": "localhost:80", "origin": "http://localhost:80"}
    assert Door().enter(own, **CHANGE) == ""
    for origin in ("http://evil.example", "null", "http://localhost:81", "https://localhost"):
        with pytest.raises(Rejected) as told:
            Door().enter({**own, "origin": origin}, **CHANGE)
        assert told.value.status == 403
        assert Door().enter({**own, "origin": origin}, **READ) == ""
