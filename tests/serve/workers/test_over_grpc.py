import numpy as np
import pytest
import tritonclient.grpc as triton
from fronted import fronted_grpc
from grpc_served import PARENT, Followed, KnownService, asked
from tritonclient.utils import InferenceServerException

from larix.serve import Refusal, Why


@pytest.fixture
def services():
    return [KnownService() for _ in range(3)]


@pytest.fixture
def client(folder, services):
    with fronted_grpc(folder, services) as server, triton.InferenceServerClient(server.address) as client:
        yield client


def test_one_channels_calls_are_answered_by_all_workers(client, services):
    for at in range(6):
        result = client.infer("feed", asked(), request_id=f"r{at}", model_version="2")
        assert np.array_equal(result.as_numpy("is_click"), np.linspace(0, 1, 4, dtype=np.float32))
        assert result.get_response().id == f"r{at}"
    assert [len(service.requests) for service in services] == [2, 2, 2]


def test_refusals_and_mistakes_pass_with_their_status(client, services):
    for service in services:
        service.error = Refusal(Why.OVERLOADED, "full", retry_after_s=1.5)
    with pytest.raises(InferenceServerException, match="full") as refused:
        client.infer("feed", asked())
    assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    with pytest.raises(InferenceServerException, match="no model 'none'") as unknown:
        client.infer("none", asked())
    assert unknown.value.status() == "StatusCode.NOT_FOUND"
    with pytest.raises(InferenceServerException, match="video_id"):
        client.infer("feed", asked()[:3])


def test_all_load_and_let_go_and_what_they_counted_is_one(client, services):
    client.load_model("feed")
    client.unload_model("feed")
    assert [service.done for service in services] == [[("load", "feed"), ("unload", "feed")]] * 3
    stats = client.get_inference_statistics("feed", as_json=True)["model_stats"][0]
    assert stats["inference_count"] == "90"
    assert stats["last_inference"] == "77"
    with pytest.raises(InferenceServerException, match="no model 'none'"):
        client.get_inference_statistics("none")


def test_what_there_is_any_worker_tells(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_model_metadata("feed").name == "feed"
    index = client.get_model_repository_index().models
    assert {(each.name, each.version) for each in index} >= {("feed", "2"), ("feed", "1")}


def test_a_workers_spans_continue_the_trace_that_came_with_the_call(folder):
    service = Followed()
    with (
        fronted_grpc(folder, [service]) as server,
        triton.InferenceServerClient(server.address) as client,
    ):
        client.infer("feed", asked(), headers={"traceparent": PARENT, "tracestate": "shop=a1"})
        client.infer("feed", asked())  # on the same connections, but of no trace
    first, second = service.spans()
    assert f"{first.context.trace_id:032x}" == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert f"{first.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert first.context.trace_state.to_header() == "shop=a1"
    assert second.parent is None
    assert second.context.trace_id != first.context.trace_id
