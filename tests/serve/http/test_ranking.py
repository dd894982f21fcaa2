import time

import pytest
from fake_service import predicted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire import ask

from larix.serve import Refusal, Why

ASK = {
    "user": {"user_id": 5},
    "context": {"past": [1, 2]},
    "candidates": {"video_id": [10, 3, 20], "rate": [0.5, None, 1]},
}


def test_a_page_is_ordered_with_scores_by_task_and_says_which_state_it_is_of(talk):
    told = talk("POST", "/v1/rank", ASK, {"x-request-id": "mine"})
    assert told.status == 200
    page = told.document
    assert [item["item"] for item in page["items"]] == [3, 10, 20]
    assert [item["position"] for item in page["items"]] == [0, 1, 2]
    for item in page["items"]:
        expected = {task: float(score[0]) for task, score in predicted([item["item"]]).items()}
        assert item == {
            "item": item["item"],
            "position": item["position"],
            "value": expected["is_click"],
            "scores": expected,
        }
    assert page["id"] == told.headers["x-request-id"] == "mine"
    assert (page["model"], page["version"]) == ("feed", "7")
    assert page["stamp"] == {"history": "line", "rows": 30, "dense": 20, "event_ms": 99}
    assert page["missing"] == {"city": 1, "rate": 1, "tag": 2, "kind": 3, "new": 3}


def test_objects_and_lists_by_column_ask_for_the_same(talk, service):
    objects = {
        **ASK,
        "candidates": [{"video_id": 10, "rate": 0.5}, {"video_id": 3}, {"video_id": 20, "rate": 1}],
    }
    first, second = talk("POST", "/v1/rank", ASK), talk("POST", "/v1/rank", objects)
    assert first.document["items"] == second.document["items"]
    one, two = service.requests
    assert one.candidates == two.candidates
    assert one.id != two.id


def test_what_is_asked_for_reaches_the_service(talk, service):
    more = {"count": 2, "explain": True, "diversity": False, "model": "feed", "version": "7"}
    told = talk("POST", "/v1/rank", {**ASK, **more})
    (request,) = service.requests
    assert (request.count, request.explain, request.diversity) == (2, True, False)
    assert (request.model, request.version, request.user) == ("feed", "7", 5)
    assert request.context.to_pylist()[0]["past"] == [1, 2]
    assert len(told.document["items"]) == 2
    assert told.document["items"][0]["why"]["shares_sum_to"] == "value"


@pytest.mark.parametrize(("timeout_ms", "most"), [(None, 20.0), (5000, 5.0), (1e8, 50.0)])
def test_a_deadline_is_counted_from_the_requests_arrival_and_bounded(serving, service, timeout_ms, most):
    server = serving(timeout_s=20.0, longest_s=50.0)
    began = time.monotonic()
    ask(server, "POST", "/v1/rank", {**ASK, "timeout_ms": timeout_ms})
    assert began < service.requests[-1].deadline - most < time.monotonic()


def test_the_model_must_be_named_where_there_are_several(talk, service):
    service.models_there.append("second")
    told = talk("POST", "/v1/rank", ASK)
    assert told.status == 400
    assert "name one: feed, second" in told.document["error"]
    assert talk("POST", "/v1/rank", {**ASK, "model": "second"}).document["model"] == "second"
    service.models_there.clear()
    assert talk("POST", "/v1/rank", ASK).status == 503


@pytest.mark.parametrize(
    ("change", "status", "why"),
    [
        ({"candidates": None}, 400, "candidates"),
        ({"candidates": []}, 200, ""),
        ({"candidates": [1]}, 400, "object"),
        ({"candidates": {"rate": [1.0]}}, 400, "'video_id' is missing"),
        ({"candidates": {"video_id": [1, 2], "rate": [1.0]}}, 400, "'rate' has 1 rows"),
        ({"candidates": {"video_id": ["a"]}}, 400, "'video_id' row 0"),
        ({"candidates": {"video_id": [1], "colour": [2]}}, 400, "no column 'colour'"),
        ({"candidates": {"video_id": list(range(10_001))}}, 413, "at most 10000"),
        ({"user": {}}, 400, "'user_id' is missing"),
        ({"user": {"user_id": 5, "past": [1]}}, 400, "'past' is in user and in context"),
        ({"count": 0}, 400, "count"),
        ({"count": "3"}, 400, "count"),
        ({"timeout_ms": -1}, 400, "timeout_ms"),
        ({"usr": 1}, 400, "unknown field"),
        ({"model": "other"}, 404, "no model 'other'"),
        ({"version": "1"}, 404, "no version '1'"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(talk, change, status, why):
    told = talk("POST", "/v1/rank", {**ASK, **change})
    assert told.status == status, told.body
    assert why in told.document.get("error", "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"candidates": {"video_id": [1e999]}}',
        b"null",
        b"{}x",
    ],
)
def test_what_is_no_json_is_refused(talk, body):
    told = talk("POST", "/v1/rank", body)
    assert told.status == 400
    assert told.document["error"].startswith("the body: ")


@pytest.mark.parametrize("why", list(Why))
def test_a_refusal_says_when_to_come_again(talk, service, why):
    service.fails = Refusal(why, "not now", retry_after_s=1.5)
    told = talk("POST", "/v1/rank", ASK, {"x-request-id": "mine"})
    assert told.status == int(why)
    assert told.headers["retry-after"] == "2"
    assert told.document == {"error": "not now", "id": "mine", "retry_after_s": 1.5}


def test_an_answer_that_never_comes_is_given_up(serving, service):
    service.delay_s = 1.0
    server = serving()
    began = time.monotonic()
    told = ask(server, "POST", "/v1/rank", {**ASK, "timeout_ms": 20})
    assert told.status == 504
    assert time.monotonic() - began < 0.9


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    user=st.fixed_dictionaries(
        {"user_id": st.integers(0, 9) | VALUES}, optional={"city": VALUES, "past": VALUES, "time_ms": VALUES}
    ),
    columns=st.fixed_dictionaries(
        {"video_id": st.lists(st.integers(0, 9) | VALUES, max_size=3) | VALUES},
        optional={name: st.lists(VALUES, max_size=3) | VALUES for name in ("rate", "new", "tag", "kind")},
    ),
    objects=st.booleans(),
)
def test_any_values_of_known_columns_are_answered_or_refused(talk, user, columns, objects):
    candidates = columns
    if objects:
        lists = {name: values for name, values in columns.items() if isinstance(values, list)}
        size = max(map(len, lists.values()), default=0)
        candidates = [
            {name: each[row] for name, each in lists.items() if row < len(each)} for row in range(size)
        ]
    told = talk("POST", "/v1/rank", {"user": user, "candidates": candidates})
    assert told.status in (200, 400), told.body
    assert told.document
