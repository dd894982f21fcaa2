import asyncio
import gzip
import json
import logging

import pytest
from wire import TOKEN, ask

from larix.serve.http import App, Door, Limits
from larix.serve.http.call import Route
from larix.serve.http.reply import Reply
from larix.serve.refusal import Refusal, Why

RANK = {"user": {"user_id": 5}, "candidates": {"video_id": [10, 3, 20]}}


class Body:
    """A body that is there at once, or never."""

    def __init__(self, body):
        self._body, self.given_up = body, False

    def __await__(self):
        if self._body is None:
            yield from asyncio.Event().wait().__await__()
        return self._body

    def done(self):
        return self._body is not None

    def cancel(self):
        self.given_up = True


class Exchange:
    """What RSGI would bring a body by; keeps the answer."""

    def __init__(self, body=b""):
        self.body, self.answer, self.read = Body(body), None, 0

    def __call__(self):
        self.read += 1
        return self.body

    def response_bytes(self, status, headers, body):
        assert self.answer is None
        self.answer = (status, dict(headers), body)


class Scope:
    def __init__(self, method="GET", path="/a", **headers):
        self.method, self.path = method, path
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def app(handler, *, method="GET", path="/a", limits=None, **more):
    async def handle(call):
        return handler(call)

    return App(
        [Route(method=method, path=path, handler=handle)], limits=limits or Limits(), door=Door(), **more
    )


async def settled(app, scope, exchange):
    await app.__rsgi__(scope, exchange)
    for _ in range(200):
        if not app._bodies.held_bytes:
            return
        await asyncio.sleep(0.05)


def answer(app, scope, body=b""):
    exchange = Exchange(body)
    asyncio.run(app.__rsgi__(scope, exchange))
    return exchange.answer


def test_a_call_brings_names_body_and_headers():
    seen = []
    made = app(lambda call: seen.append(call) or Reply(200, b"{}"), method="POST", path="/a/{}/b/{}")
    scope = Scope("POST", "/a/x y/b/z", content_length="3", x_request_id="mine", x="1")
    status, headers, _ = answer(made, scope, b"abc")
    (call,) = seen
    assert (call.names, call.body, call.id, call.headers.get("x")) == (("x y", "z"), b"abc", "mine", "1")
    assert status == 200
    assert headers["x-request-id"] == "mine"
    assert headers["x-content-type-options"] == "nosniff"


def test_a_fault_of_ours_is_logged_and_told_by_the_requests_id_alone(caplog):
    def broken(call):
        raise ValueError("secret")

    with caplog.at_level(logging.ERROR):
        status, _, body = answer(app(broken), Scope(x_request_id="mine"))
    assert status == 500
    assert "secret" not in body.decode()
    assert "mine" in body.decode()
    assert "secret" in caplog.text


def test_a_call_belongs_to_the_trace_that_its_headers_carry():
    from larix.serve.telemetry import traces

    seen = []
    made = app(lambda call: seen.append(dict(traces._parent.get())) or Reply(200, b""))
    answer(made, Scope(traceparent="00-1-2-01", tracestate="a=b"))
    answer(made, Scope())
    assert seen == [{"traceparent": "00-1-2-01", "tracestate": "a=b"}, {}]


@pytest.mark.parametrize("id", ["a" * 129, "a\nb", "é", "\x00"])
def test_an_id_that_cannot_stand_in_a_header_is_refused(id):
    status, headers, _ = answer(app(lambda call: Reply(200, b"")), Scope(x_request_id=id))
    assert status == 400
    assert len(headers["x-request-id"]) == 32


def test_every_answer_is_counted_and_told_of():
    done = []
    made = app(lambda call: Reply(200, b"12345"), method="POST", done=done.append)
    answer(made, Scope("POST", content_length="3"), b"abc")
    answer(made, Scope("GET"))
    answer(made, Scope("GET", "/nowhere", content_length="4"), b"abcd")
    answer(made, Scope("SUMMON"))
    assert made.counts == {("POST", "/a", 200): 1, ("", "", 405): 2, ("", "", 404): 1}
    first = done[0]
    assert (first.status, first.path, first.received_bytes, first.sent_bytes) == (200, "/a", 3, 5)
    assert done[0].error is None
    assert done[2].error is not None
    assert done[0].seconds >= 0


def test_head_is_answered_like_get_and_other_methods_are_told_what_is_taken():
    made = app(lambda call: Reply(200, b"x"))
    assert answer(made, Scope("HEAD"))[0] == 200
    status, headers, _ = answer(made, Scope("TRACE"))
    assert status == 405
    assert headers["allow"] == "GET"


@pytest.mark.parametrize("path", ["", "a", "/", "//", "/a/", "/b", "/a/b", "*", "/\ufffd", "/a\x00"])
def test_an_unknown_path_is_not_found(path):
    assert answer(app(lambda call: Reply(200, b"")), Scope(path=path))[0] == 404


def test_a_body_that_nobody_wants_is_taken_in_if_it_is_small_and_given_back():
    made = app(lambda call: Reply(200, b""), limits=Limits(body_bytes=1 << 20, held_bytes=1 << 20))
    for size, read in ((10, 1), (1 << 19, 0)):
        exchange = Exchange(bytes(size))
        asyncio.run(settled(made, Scope("POST", "/no", content_length=str(size)), exchange))
        assert exchange.read == read
        assert exchange.answer[0] == 404
    assert made._bodies.held_bytes == 0


@pytest.mark.parametrize("size", [100, 10_000, 300_000])
def test_long_answers_are_packed_for_those_who_take_it(size):
    body = b'{"a": 1}' * (size // 8)
    made = app(lambda call: Reply(200, body))
    assert answer(made, Scope())[2] == body
    _, headers, packed = answer(made, Scope(accept_encoding="gzip"))
    assert ("content-encoding" in headers) == (size > 4096)
    assert (gzip.decompress(packed) if size > 4096 else packed) == body


def test_a_token_is_asked_for_everywhere_but_where_nothing_is_told(serving, service):
    server = serving(tokens=[TOKEN])
    own = {"authorization": f"Bearer {TOKEN}"}
    for method, path, body in (
        ("POST", "/v1/rank", RANK),
        ("POST", "/v1/sessions", {"user": RANK["user"]}),
        ("DELETE", "/v1/sessions/x", None),
        ("POST", "/v1/feedback", {"actions": [{}]}),
        ("POST", "/v2/models/feed/infer", {}),
        ("POST", "/v2/repository/models/feed/unload", {}),
        ("GET", "/v2/models/feed", None),
        ("GET", "/v1/examples", None),
        ("GET", "/metrics", None),
    ):
        told = ask(server, method, path, body)
        assert told.status == 401, path
        assert told.headers["www-authenticate"].startswith("Bearer")
        assert ask(server, method, path, body, own).status != 401
    assert not service.requests[1:]
    for path in ("/v2/health/live", "/v2/health/ready", "/", "/openapi.json"):
        assert ask(server, "GET", path).status == 200


def test_names_in_a_path_are_read_without_percent_signs(talk, service):
    service.models_there.append("feed of łódź")
    told = talk("GET", "/v2/models/feed%20of%20%C5%82%C3%B3d%C5%BA")
    assert told.document["name"] == "feed of łódź"


def test_what_is_sent_may_be_packed(talk):
    told = talk("POST", "/v1/rank", gzip.compress(json.dumps(RANK).encode()), {"content-encoding": "GZIP"})
    assert told.status == 200
    assert talk("POST", "/v1/rank", b"abc", {"content-encoding": "gzip"}).status == 400
    assert talk("POST", "/v1/rank", b"abc", {"content-encoding": "br"}).status == 415


FULL = Refusal(Why.OVERLOADED, "the server is full", retry_after_s=0.2)


def full(handled, times=10**9, limits=None):
    """A route that has no room, but for the first so many that ask for it."""
    asked = []

    def room():
        asked.append(1)
        if len(asked) > times:
            raise FULL

    async def handle(call):
        handled.append(call)
        return Reply(200, b"{}")

    route = Route(method="POST", path="/a", handler=handle, room=room)
    return App([route], limits=limits or Limits(), door=Door())


def test_where_there_is_no_room_a_call_is_refused_before_its_body_is_there():
    handled = []
    made = full(handled, times=0, limits=Limits(body_s=0.1))

    exchange = Exchange(None)
    asyncio.run(settled(made, Scope("POST", content_length="9", x_request_id="mine"), exchange))
    status, headers, body = exchange.answer
    assert (status, headers["retry-after"]) == (429, "1")
    assert json.loads(body) == {"error": "the server is full", "id": "mine", "retry_after_s": 0.2}
    assert made.counts == {("POST", "/a", 429): 1}
    assert exchange.body.given_up, "it never comes"
    assert made._bodies.held_bytes == 0
    assert not handled


@pytest.mark.parametrize(("headers", "read"), [({}, 1), ({"expect": "100-continue"}, 0)], ids=str)
def test_the_body_of_a_refused_call_is_taken_in_behind_the_answer_if_it_is_on_its_way(headers, read):
    exchange = Exchange(b"123456789")
    asyncio.run(full([], times=0).__rsgi__(Scope("POST", content_length="9", **headers), exchange))
    assert (exchange.answer[0], exchange.read) == (429, read)


def test_room_that_is_gone_when_the_body_is_there_is_not_handed_on():
    handled = []
    assert answer(full(handled, times=1), Scope("POST", content_length="1"), b"x")[0] == 429
    assert not handled
    assert answer(full(handled, times=2), Scope("POST", content_length="1"), b"x")[0] == 200
    assert len(handled) == 1


def test_what_is_wrong_with_a_call_itself_is_told_before_that_there_is_no_room():
    made = full([], times=0)
    assert answer(made, Scope("POST", transfer_encoding="chunked"))[0] == 411
    assert answer(made, Scope("POST", content_length=str(1 << 40)))[0] == 413
    assert answer(made, Scope("POST", host="elsewhere.example"))[0] == 421
    assert answer(made, Scope("GET"))[0] == 405
