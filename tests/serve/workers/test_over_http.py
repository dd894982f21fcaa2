import json
import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import tritonclient.http as triton
from fake_service import predicted
from fronted import fronted
from hypothesis import given
from hypothesis import strategies as st
from wire import TOKEN, ask

from larix.serve import Refusal, Why
from larix.serve.http.call import Call
from larix.serve.workers import over_http

USER = {"user": {"user_id": 5}, "context": {"past": [1, 2]}}
SCORE = {"candidates": {"video_id": [10, 3, 20]}}
OTHER = "another-token-long-enough"


@pytest.fixture
def server(folder):
    with fronted(folder) as made:
        yield made


def test_pages_come_from_all_workers_and_say_what_one_server_says(server):
    pages = [
        ask(server, "POST", "/v1/rank", {**USER, **SCORE}, {"x-request-id": f"r{at}"}) for at in range(9)
    ]
    assert [len(service.requests) for service in server.services] == [3, 3, 3]
    for at, page in enumerate(pages):
        assert page.status == 200
        assert page.document["id"] == page.headers["x-request-id"] == f"r{at}"
        values = {item["item"]: item["value"] for item in page.document["items"]}
        wanted = predicted([10, 3, 20])["is_click"]
        assert values == pytest.approx(dict(zip([10, 3, 20], wanted.tolist(), strict=True)))
    assert {request.id for service in server.services for request in service.requests} == {
        f"r{at}" for at in range(9)
    }


def test_tensors_pass_with_the_header_that_says_where_they_begin(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        tensors = []
        for name, array, kind in (
            ("user_id", np.array([5]), "INT64"),
            ("past", np.array([[1, 2, 4]]), "INT64"),
            ("city", np.array([b"x"], np.object_), "BYTES"),
            ("video_id", np.array([10, 3, 20]), "INT64"),
            ("rate", np.array([0.5, 1, 2], np.float32), "FP32"),
            ("tag", np.array([7, 8, 9, 9]), "INT64"),
            ("tag.lengths", np.array([1, 0, 3]), "INT64"),
            ("new", np.array([True, False, True]), "BOOL"),
        ):
            made = triton.InferInput(name, list(array.shape), kind)
            made.set_data_from_numpy(array, binary_data=True)
            tensors.append(made)
        found = client.infer("feed", tensors).as_numpy("is_click")
        assert np.array_equal(found, predicted([10, 3, 20])["is_click"])
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.get_model_metadata("feed")["name"] == "feed"


def test_a_session_is_found_whichever_connection_asks(server):
    opened = [ask(server, "POST", "/v1/sessions", USER).document["session"] for _ in range(6)]
    assert Counter(session.partition(".")[0] for session in opened) == {"0": 2, "1": 2, "2": 2}
    for session in opened:
        page = ask(server, "POST", f"/v1/sessions/{session}/score", {**SCORE, "count": 1})
        assert [item["item"] for item in page.document["items"]] == [3]
        assert ask(server, "DELETE", f"/v1/sessions/{session}").status == 204
        assert ask(server, "POST", f"/v1/sessions/{session}/score", SCORE).status == 404
    assert not any(service.sessions.open_ones for service in server.services)


def test_opening_again_under_one_id_goes_to_the_worker_that_knows_it(server):
    for name in ("a", "b", "c", "d"):
        opened = [
            ask(server, "POST", "/v1/sessions", USER, {"x-request-id": name}).document["session"]
            for _ in range(3)
        ]
        assert len({session.partition(".")[0] for session in opened}) == 1


@pytest.mark.parametrize("name", ["x", ".", "9.x", "-1.x", "1", "99999999999999999999.x", "²." + "x"])
def test_a_name_that_is_no_workers_session_is_unknown(server, name):
    told = ask(
        server, "POST", f"/v1/sessions/{name.encode().hex() if not name.isascii() else name}/score", SCORE
    )
    assert told.status == 404


def test_a_session_stays_its_bearers_secret(folder):
    with fronted(folder, tokens=[TOKEN, OTHER]) as server:

        def as_(token, *words):
            return ask(server, *words, headers={"authorization": f"Bearer {token}"})

        session = as_(TOKEN, "POST", "/v1/sessions", USER).document["session"]
        assert as_(OTHER, "POST", f"/v1/sessions/{session}/score", SCORE).status == 404
        assert as_(TOKEN, "POST", f"/v1/sessions/{session}/score", SCORE).status == 200
        assert ask(server, "POST", "/v1/rank", {**USER, **SCORE}).status == 401
        assert ask(server, "GET", "/metrics").status == 401


def test_all_workers_load_and_let_go_and_a_mistake_is_told_once(server):
    assert ask(server, "POST", "/v2/repository/models/second/load").status == 200
    assert [service.models_there for service in server.services] == [["feed", "second"]] * 3
    assert ask(server, "POST", "/v2/repository/models/second/unload").status == 200
    assert [service.models_there for service in server.services] == [["feed"]] * 3
    assert ask(server, "POST", "/v2/repository/models/none/load").status == 404


def test_statistics_are_of_all_workers_together(server):
    one = ask(server, "GET", "/v2/models/feed/stats").document["model_stats"][0]
    alone = server.services[0].stats("feed").versions[0]
    assert one["inference_count"] == 3 * alone.candidates
    assert one["last_inference"] == alone.last_ms
    assert ask(server, "GET", "/v2/models/none/stats").status == 404


def test_metrics_tell_whose_they_are(server):
    ask(server, "POST", "/v1/rank", {**USER, **SCORE})
    lines = ask(server, "GET", "/metrics").body.decode().splitlines()
    ready = [line for line in lines if line.startswith("larix_ready{")]
    assert ready == [f'larix_ready{{worker="{at}"}} 1.0' for at in range(3)]
    assert 'larix_http_answers_total{worker="front",method="POST",path="/v1/rank",status="200"} 1.0' in lines
    assert sum(line.startswith("# TYPE larix_ready ") for line in lines) == 1


def test_feedback_is_the_fronts(server):
    told = ask(server, "POST", "/v1/feedback", {"actions": [{"item": 1}, {"item": 2}]})
    assert (told.status, told.document["taken"]) == (200, 2)
    assert server.front.feedback.rows == [{"item": 1}, {"item": 2}]
    assert not any(service.feedback.rows for service in server.services)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (json.dumps({**USER, "candidates": {"video_id": ["x"]}}).encode(), 400), (b"", 400)],
)
def test_what_is_malformed_is_told_by_the_worker_as_a_server_would(server, body, status):
    told = ask(server, "POST", "/v1/rank", body)
    assert told.status == status
    assert told.document["error"]


def test_a_refusal_passes_with_its_reason_and_time(server):
    for service in server.services:
        service.fails = Refusal(Why.OVERLOADED, "full", retry_after_s=3.2)
    told = ask(server, "POST", "/v1/rank", {**USER, **SCORE})
    assert (told.status, told.headers["retry-after"], told.document["error"]) == (429, "4", "full")
    for service in server.services:
        service.fails = ValueError("a secret")
    told = ask(server, "POST", "/v1/rank", {**USER, **SCORE})
    assert told.status == 500
    assert "secret" not in told.body.decode()


def test_without_workers_the_front_lives_but_is_not_ready(server):
    for member in server.dispatch.members:
        member.up = False
    assert ask(server, "GET", "/v2/health/live").status == 200
    assert ask(server, "GET", "/v2/health/ready").status == 503
    told = ask(server, "POST", "/v1/rank", {**USER, **SCORE})
    assert (told.status, told.headers["retry-after"]) == (503, "1")
    assert ask(server, "POST", "/v2/repository/models/feed/load").status == 503
    assert ask(server, "GET", "/metrics").status == 200
    assert ask(server, "GET", "/").status == 200


def test_when_all_workers_are_full_the_front_refuses_without_asking_them(server):
    for service in server.services:
        service.full = Refusal(Why.OVERLOADED, "no room", retry_after_s=2.0)
    told = [ask(server, "POST", "/v1/rank", b"{not even read") for _ in range(30)]
    assert {(each.status, each.headers["retry-after"]) for each in told} == {(429, "2")}
    assert sum(service.turned_away for service in server.services) < 3 * 30
    for service in server.services:
        service.full = None
    time.sleep(0.05)
    assert ask(server, "POST", "/v1/rank", {**USER, **SCORE}).status == 200


def packed(ids, id=""):
    """A body of `infer` with binary tensors, and how much of it is JSON."""
    told = [
        {"name": name, "shape": [size], "datatype": "INT64", "parameters": {"binary_data_size": 8 * size}}
        for name, size in (("user_id", 1), ("video_id", len(ids)))
    ]
    head = json.dumps({"id": id, "inputs": told}).encode()
    return head + np.array([5, *ids]).tobytes(), len(head)


def test_a_tensor_is_copied_once_on_its_way_to_a_worker_wherever_the_json_before_it_ends(server, monkeypatch):
    """Out of what was received into the body that is read, where its column stays."""
    bodies = []
    monkeypatch.setattr(
        over_http, "Call", lambda body, **more: bodies.append(body) or Call(body=body, **more)
    )
    ends = set()
    for more in range(8):
        body, length = packed([10, 3, 20], id="x" * more)
        ends.add(length % 8)
        answer = ask(
            server, "POST", "/v2/models/feed/infer", body, {"inference-header-content-length": str(length)}
        )
        assert answer.status == 200, answer.document
        request = next(each.requests.pop() for each in server.services if each.requests)
        inside = pa.py_buffer(bodies.pop())
        for column in (request.context["user_id"], request.candidates["video_id"]):
            assert 0 <= column.buffers()[1].address - inside.address < inside.size
        assert request.candidates["video_id"].to_pylist() == [10, 3, 20]
    assert ends == set(range(8))


@given(st.binary(max_size=40), st.data())
def test_blanks_behind_the_json_are_all_that_a_body_is_given(body, data):
    length = data.draw(st.integers(0, len(body)))
    parts, told = over_http._aligned(body, str(length))
    whole, blanks = b"".join(parts), int(told) - length
    assert whole == body[:length] + b" " * blanks + body[length:]
    assert 0 <= blanks < 8
    assert int(told) % 8 == 0


@pytest.mark.parametrize("length", ["", "-8", "x", "41", "9" * 30, "²"])
def test_a_length_that_cannot_be_is_left_to_the_worker(length):
    assert over_http._aligned(bytes(40), length) == ((bytes(40),), length)
