import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import requests
import stock
import tritonclient.http as triton
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from shop_bundle import exported

from larix.serve import Refusal, Request, Why
from larix.serve.engine import EngineSettings
from larix.serve.http import App, Door, HttpServer, Limits, routes
from larix.serve.http.logged import LoggedPeople
from larix.serve.models import Loading, Repository
from larix.serve.serving import Serving
from larix.serve.telemetry import Traces

TWO = EngineSettings(workers=2, sparse=2, dense=2, wait_s=30.0)
PATIENT = Limits(timeout_s=20.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("shop")
    exported(place, "step-7")
    return place


def serving_of(folder, **more):
    repository = Repository({"shop": folder}, Loading(streams=2))
    repository.load("shop")
    return Serving(repository, engine=TWO, **more)


@pytest.fixture
def service(folder):
    with serving_of(folder) as made:
        yield made


@pytest.fixture
def server(service):
    people = LoggedPeople("shop", stock.signature(), stock.warm())
    app = App(routes(service, PATIENT, examples=people), limits=PATIENT, door=Door())
    made = HttpServer(app, limits=PATIENT)
    made.start()
    yield made
    made.stop()


def asked():
    """The warm-up requests as JSON, and what the trained network predicts for each: is it clicked."""
    warm = stock.warm()
    for (context, candidates), logits in zip(warm.requests(stock.signature()), warm.logits, strict=True):
        yield {"context": context, "candidates": candidates}, 1 / (1 + np.exp(-logits[:, 0]))


def clicks(page, candidates):
    """A page's predictions in the order of the candidates, which may be there more than once."""
    by_item = {item["item"]: item["scores"]["click"] for item in page["items"]}
    return np.array([by_item[item] for item in candidates["item_id"]])


def test_ranking_and_sessions_over_http_say_what_the_trained_network_says(server):
    with requests.Session() as http:
        for body, expected in asked():
            whole = http.post(f"{server.url}/v1/rank", json={**body, "diversity": False})
            assert whole.status_code == 200, whole.text
            np.testing.assert_allclose(clicks(whole.json(), body["candidates"]), expected, atol=1e-5)
            assert whole.json()["stamp"]["history"] == "line"
            opened = http.post(f"{server.url}/v1/sessions", json={"context": body["context"]}).json()
            path = f"{server.url}/v1/sessions/{opened['session']}"
            for _ in range(2):
                scored = http.post(
                    f"{path}/score", json={"candidates": body["candidates"], "diversity": False}
                )
                assert scored.json()["items"] == whole.json()["items"], scored.text
            assert http.delete(path).status_code == 204
            gone = http.post(f"{path}/score", json={"candidates": body["candidates"]})
            assert gone.status_code == 410
            assert "closed" in gone.json()["error"]


def test_opening_again_with_the_same_id_opens_no_second_session(server, service):
    body, _ = next(asked())
    context = {name: value for name, value in body["context"].items() if name != "time_ms"}
    words = {"json": {"context": context}, "headers": {"x-request-id": "again"}}
    first = requests.post(f"{server.url}/v1/sessions", **words, timeout=20)
    time.sleep(0.01)  # now is another time then
    second = requests.post(f"{server.url}/v1/sessions", **words, timeout=20)
    assert first.status_code == second.status_code == 201, second.text
    assert first.json()["session"] == second.json()["session"]
    assert service.sessions.stats.open == 1


def test_a_session_opened_with_its_first_round_is_one_request_however_often_it_is_sent(server, service):
    body, expected = next(asked())
    words = {"json": {**body, "diversity": False}, "headers": {"x-request-id": "both"}, "timeout": 20}
    first, again = (requests.post(f"{server.url}/v1/sessions", **words) for _ in range(2))
    assert first.status_code == again.status_code == 201, again.text
    assert first.json() == again.json()
    np.testing.assert_allclose(clicks(first.json()["page"], body["candidates"]), expected, atol=1e-5)
    assert (service.sessions.stats.open, service.sessions.stats.scored) == (1, 1)
    path = f"{server.url}/v1/sessions/{first.json()['session']}/score"
    scored = requests.post(path, json={"candidates": body["candidates"], "diversity": False}, timeout=20)
    assert scored.json()["items"] == first.json()["page"]["items"]
    other = {"json": {**body, "count": 1}, "headers": {"x-request-id": "both"}, "timeout": 20}
    assert requests.post(f"{server.url}/v1/sessions", **other).status_code == 400
    late = requests.post(f"{server.url}/v1/sessions", json={**body, "timeout_ms": 1e-3}, timeout=20)
    assert late.status_code == 504
    assert service.sessions.stats.open == 1


def test_pages_and_rounds_of_sessions_are_followed(folder):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with serving_of(folder, traces=Traces(provider)) as service:
        request = next(made_requests(service))
        service.rank(request).result(timeout=20)
        opened = service.sessions.open(model="shop", context=request.context).result(timeout=20)
        inside = replace(request, session=opened.id, context=None, model="")
        service.sessions.score(inside).result(timeout=20)
        until = time.monotonic() + 20
        while len(tops := [each for each in exporter.get_finished_spans() if each.parent is None]) < 2:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert {each.name: each.attributes["larix.in_session"] for each in tops} == {"rank": False, "score": True}


def test_a_version_in_the_shadow_scores_rounds_of_sessions_too(folder):
    with serving_of(folder) as service:
        model = service.repository.model("shop")
        model.add("again", Loading(streams=1)(folder / "step-7", model="shop", version="again"))
        request = next(made_requests(service))

        def opened():
            return service.sessions.open(model="shop", context=request.context).result(timeout=20).id

        def score(session, number):
            inside = replace(request, session=session, context=None, model="", id=f"r{number}")
            return service.sessions.score(inside).result(timeout=20)

        before = opened()
        model.shadow("again", share=1.0)
        session = opened()
        score(before, 0)  # what its context was nobody knows any more
        for number in (1, 2, 3, 3):
            score(session, number)
        service.rank(replace(request, id="whole")).result(timeout=20)
        until = time.monotonic() + 20
        while model.shadow_report.requests < 4:
            assert time.monotonic() < until
            time.sleep(0.01)
        report = model.end_shadow()
    assert (report.requests, report.failed, report.dropped) == (4, 0, 0), "a retry is answered once"
    assert report.candidates == 4 * len(request.candidates)
    assert report.tasks["click"].most < 1e-5


def test_tensors_say_the_same(server):
    compared = 0
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        assert client.is_model_ready("shop", "step-7")
        types = {each["name"]: each["datatype"] for each in client.get_model_metadata("shop")["inputs"]}
        for body, expected in asked():
            if any(None in values for values in body["candidates"].values()):
                continue  # a tensor holds no null, and half a column cannot be left out
            context = {name: [value] for name, value in body["context"].items() if value is not None}
            columns = {**context, **body["candidates"]}
            made = [each for name, column in columns.items() for each in tensors(name, column, types)]
            found = client.infer("shop", made, timeout=20_000_000)
            np.testing.assert_allclose(found.as_numpy("click"), expected, atol=1e-5)
            compared += 1
    assert compared >= 2


def tensors(name, column, types):
    if isinstance(column[0], list):
        flat = [each for row in column for each in row]
        if name + ".lengths" not in types:
            return [tensor(name, np.array([flat]), types[name])]
        lengths = np.array([len(row) for row in column])
        return [tensor(name, np.array(flat), types[name]), tensor(name + ".lengths", lengths, "INT64")]
    return [tensor(name, np.array(column), types[name])]


def tensor(name, array, datatype):
    if datatype == "BYTES":
        array = np.array([str(each).encode() for each in array.reshape(-1)], np.object_).reshape(array.shape)
    else:
        array = array.astype(NUMPY[datatype])
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


NUMPY = {"INT64": np.int64, "INT32": np.int32, "FP32": np.float32, "FP64": np.float64, "INT8": np.int8}


def test_the_people_of_the_page_can_be_ranked_for(server):
    people = requests.get(f"{server.url}/v1/examples", timeout=20).json()
    assert 3 < len(people) <= 12
    for each in people:
        one = requests.get(f"{server.url}/v1/examples/{each['name']}", timeout=20).json()
        body = {name: one[name] for name in ("model", "user", "context", "candidates")}
        told = requests.post(f"{server.url}/v1/rank", json={**body, "explain": True}, timeout=20)
        assert told.status_code == 200, told.text
        assert {item["item"] for item in told.json()["items"]} == set(one["candidates"]["item_id"])
    assert len(set(one["candidates"]["item_id"])) == len(one["candidates"]["item_id"])


def test_what_was_answered_is_counted_by_version(server, service):
    body, _ = next(asked())
    for _ in range(3):
        requests.post(f"{server.url}/v1/rank", json=body, timeout=20)
    (one,) = service.stats("shop").versions
    assert (one.model, one.version, one.answered) == ("shop", "step-7", 3)
    assert service.stats("other").versions == ()
    assert service.stats().gauges["sessions_open"] == 0


def test_draining_refuses_what_comes_and_answers_what_is_there(service):
    request = next(made_requests(service))
    before = service.rank(request)
    assert service.ready
    assert service.drain(20.0)
    assert not service.ready
    assert service.live
    assert before.result(20).id == request.id
    with pytest.raises(Refusal) as told:
        service.rank(request).result(20)
    assert told.value.why is Why.UNAVAILABLE


def made_requests(service):
    columns = service.signature("shop")
    for number, (body, _) in enumerate(asked()):
        context, candidates = (
            columns.context_of(body["context"], 0)[0],
            columns.candidates_of(body["candidates"])[0],
        )
        yield Request(id=str(number), context=context, candidates=candidates, model="shop")


def test_a_version_that_comes_takes_over_while_pages_are_asked_for(folder, tmp_path):
    place = tmp_path / "bundles"
    place.mkdir()
    (place / "step-7").symlink_to(folder / "step-7")
    with serving_of(place, poll_s=0.1) as service:
        app = App(routes(service, PATIENT), limits=PATIENT, door=Door())
        server = HttpServer(app, limits=PATIENT)
        server.start()
        body, expected = next(asked())
        seen, over = [], threading.Event()

        def ask():
            with requests.Session() as http:
                while not over.is_set():
                    told = http.post(f"{server.url}/v1/rank", json={**body, "diversity": False}, timeout=20)
                    seen.append((told.status_code, told.json()))

        asking = threading.Thread(target=ask)
        asking.start()
        exported(place, "step-9")
        until = time.monotonic() + 60
        while service.models()[0].live != "step-9" and time.monotonic() < until:
            time.sleep(0.05)
        count = len(seen)
        while len(seen) < count + 3 and time.monotonic() < until:
            time.sleep(0.01)
        over.set()
        asking.join()
        server.stop()
    assert {status for status, _ in seen} == {200}
    assert [page["version"] for _, page in seen] == sorted(page["version"] for _, page in seen)
    assert {page["version"] for _, page in seen} == {"step-7", "step-9"}
    for _, page in seen:
        np.testing.assert_allclose(clicks(page, body["candidates"]), expected, atol=1e-5)
