import pytest
from wire import TOKEN, ask

from larix.errors import DataError
from larix.serve import Refusal, Why

ACTIONS = {"actions": [{"user_id": 1, "video_id": 2, "kind": "click"}, {"user_id": 1, "video_id": 3}]}


def test_actions_are_taken_and_counted(serving, service):
    server = serving(tokens=[TOKEN])
    told = ask(
        server, "POST", "/v1/feedback", ACTIONS, {"authorization": f"Bearer {TOKEN}", "x-request-id": "f"}
    )
    assert told.document == {"id": "f", "taken": 2}
    assert service.feedback.rows == ACTIONS["actions"]
    assert len(service.feedback.bearers[0]) == 16


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (DataError("column 'kind' is missing"), 400),
        (Refusal(Why.UNAVAILABLE, "the disk is full", retry_after_s=3), 503),
        (Refusal(Why.OVERLOADED, "too many wait"), 429),
    ],
)
def test_what_cannot_be_taken_is_said(talk, service, refusal, status):
    service.feedback.refusal = refusal
    told = talk("POST", "/v1/feedback", ACTIONS)
    assert told.status == status
    assert told.document["error"] == str(refusal)


@pytest.mark.parametrize(
    "body", [{}, {"actions": []}, {"actions": [1]}, {"actions": [{}] * 10_001}, {"acts": []}]
)
def test_what_is_no_list_of_actions_is_refused(talk, service, body):
    assert talk("POST", "/v1/feedback", body).status == 400
    assert not service.feedback.rows


def test_a_server_without_a_log_says_so(talk, service):
    service.feedback = None
    told = talk("POST", "/v1/feedback", ACTIONS)
    assert told.status == 404
    assert "takes no feedback" in told.document["error"]
