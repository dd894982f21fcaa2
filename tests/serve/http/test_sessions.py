import pytest
from wire import TOKEN, ask

from larix.serve import Refusal, Why

OTHER = "another-token-long-enough"
OPEN = {"user": {"user_id": 5}, "context": {"past": [1, 2]}}
SCORE = {"candidates": {"video_id": [10, 3, 20]}}


def test_open_score_and_close(talk, service):
    opened = talk("POST", "/v1/sessions", {**OPEN, "ttl_s": 12})
    assert opened.status == 201
    told = opened.document
    assert (told["model"], told["version"], told["ttl_s"]) == ("feed", "7", 12.0)
    assert told["missing"] == {"city": 1}
    for _ in range(2):
        page = talk("POST", f"/v1/sessions/{told['session']}/score", {**SCORE, "count": 1}).document
        assert [item["item"] for item in page["items"]] == [3]
    whole = talk("POST", "/v1/rank", {**OPEN, **SCORE, "count": 1}).document
    assert whole["items"] == page["items"]
    assert talk("DELETE", f"/v1/sessions/{told['session']}").status == 204
    assert not service.sessions.open_ones
    assert talk("POST", f"/v1/sessions/{told['session']}/score", SCORE).status == 404


def test_a_session_may_be_opened_with_its_first_round(talk, service):
    both = talk("POST", "/v1/sessions", {**OPEN, **SCORE, "count": 2, "ttl_s": 12}, {"x-request-id": "mine"})
    assert both.status == 201
    told = both.document
    assert (told["ttl_s"], told["page"]["id"]) == (12.0, "mine")
    again = talk("POST", f"/v1/sessions/{told['session']}/score", {**SCORE, "count": 2}).document
    assert told["page"]["items"] == again["items"]
    assert [item["item"] for item in again["items"]] == [3, 10]
    assert told["page"]["missing"] == again["missing"] == {"tag": 2, "rate": 3, "new": 3, "kind": 3}
    assert told["missing"] == {"city": 1}
    assert "page" not in talk("POST", "/v1/sessions", OPEN).document


def test_a_first_round_that_fails_leaves_no_session(talk, service):
    assert talk("POST", "/v1/sessions", {**OPEN, "candidates": {"video_id": ["a"]}}).status == 400
    assert (
        talk("POST", "/v1/sessions", {**OPEN, "candidates": {"video_id": list(range(10_001))}}).status == 413
    )
    service.fails = Refusal(Why.OVERLOADED, "not now", retry_after_s=1.0)
    assert talk("POST", "/v1/sessions", {**OPEN, **SCORE}).status == 429
    assert not service.sessions.open_ones


def test_a_session_is_read_and_scored_by_its_own_version_whatever_answers_others(talk, service):
    session = talk("POST", "/v1/sessions", OPEN).document["session"]
    service.models_there.append("second")
    assert talk("POST", f"/v1/sessions/{session}/score", SCORE).status == 200
    assert (service.requests[-1].model, service.requests[-1].version) == ("", "")
    assert service.requests[-1].session == session


def test_a_session_is_of_whoever_opened_it(serving):
    server = serving(tokens=[TOKEN, OTHER])

    def as_(token, *words):
        return ask(server, *words, headers={"authorization": f"Bearer {token}"})

    session = as_(TOKEN, "POST", "/v1/sessions", OPEN).document["session"]
    assert as_(OTHER, "POST", f"/v1/sessions/{session}/score", SCORE).status == 404
    assert as_(TOKEN, "POST", f"/v1/sessions/{session}/score", SCORE).status == 200


@pytest.mark.parametrize("name", ["x", ".", "%00", "a" * 300, "%C5%82"])
@pytest.mark.parametrize(("method", "rest"), [("POST", "/score"), ("DELETE", "")])
def test_a_name_that_is_no_session_is_refused(talk, method, rest, name):
    told = talk(method, f"/v1/sessions/{name}{rest}", SCORE if rest else None)
    assert told.status in ((404, 410) if rest else (204, 404))


def test_what_does_not_fit_is_refused(talk):
    session = talk("POST", "/v1/sessions", OPEN).document["session"]
    assert talk("POST", "/v1/sessions", {"ttl_s": 0}).status == 400
    assert talk("POST", "/v1/sessions", {"user": {"user": 1}}).status == 400
    assert talk("POST", f"/v1/sessions/{session}/score", {}).status == 400
    assert talk("POST", f"/v1/sessions/{session}/score", {"candidates": {"video_id": [None]}}).status == 400
