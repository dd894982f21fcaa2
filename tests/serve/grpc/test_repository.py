"""Everything but ModelInfer as the real client asks for it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import tritonclient.grpc as triton
from asked import SIGNATURE
from grpc_served import KnownService, served
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

import larix
from larix.serve.grpc.messages import message


@pytest.fixture
def service():
    return KnownService()


@pytest.fixture
def server(service):
    with served(service) as server:
        yield server


@pytest.fixture
def client(server):
    with triton.InferenceServerClient(server.address) as client:
        yield client


def test_health_is_the_services(service, client):
    assert client.is_server_live()
    assert client.is_server_ready()
    service.ready = False
    assert client.is_server_live()
    assert not client.is_server_ready()
    service.live = False
    assert not client.is_server_live()


def test_a_model_is_ready_if_its_version_is(client):
    assert client.is_model_ready("feed")
    assert client.is_model_ready("feed", "2")
    assert not client.is_model_ready("feed", "1")
    assert not client.is_model_ready("feed", "7")
    assert not client.is_model_ready("empty")
    with pytest.raises(InferenceServerException, match="there is no model 'food'"):
        client.is_model_ready("food")


def test_grpcs_own_health_protocol_is_spoken(service, server):
    with grpc.insecure_channel(server.address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=lambda name: message("grpc.health.v1.HealthCheckRequest")(
                service=name
            ).SerializeToString(),
            response_deserializer=message("grpc.health.v1.HealthCheckResponse").FromString,
        )
        assert check("").status == check("inference.GRPCInferenceService").status == 1
        service.ready = False
        assert check("").status == 2
        with pytest.raises(grpc.RpcError, match="there is no service 'x'") as caught:
            check("x")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_the_server_says_what_it_is(client):
    said = client.get_server_metadata()
    assert (said.name, said.version) == ("larix", larix.__version__)
    assert "statistics" in said.extensions


def test_a_model_says_its_inputs_and_outputs(client):
    said = client.get_model_metadata("feed")
    assert (said.name, list(said.versions), said.platform) == ("feed", ["2"], "larix")
    inputs = {each.name: (each.datatype, list(each.shape)) for each in said.inputs}
    assert set(inputs) == {*SIGNATURE.context.names, *SIGNATURE.candidates.names, "tag.lengths"}
    assert inputs["past"] == ("INT64", [1, -1])
    assert [(each.name, each.datatype) for each in said.outputs][-1] == ("order", "INT64")


def test_a_model_says_its_configuration(client):
    said = client.get_model_config("feed").config
    assert (said.name, said.platform, said.backend, said.max_batch_size) == ("feed", "larix", "larix", 0)
    assert {each.name for each in said.input if not each.optional} == {"user_id", "video_id"}
    assert [list(each.dims) for each in said.output] == [[-1]] * 4
    with pytest.raises(InferenceServerException, match="there is no model"):
        client.get_model_config("feed", "7")


def test_statistics_are_those_of_the_service(client):
    for said in (client.get_inference_statistics(), client.get_inference_statistics("feed", "2")):
        (stats,) = said.model_stats
        assert (stats.name, stats.version, stats.last_inference) == ("feed", "2", 77)
        assert (stats.inference_count, stats.execution_count) == (30, 2)
        assert (stats.inference_stats.success.count, stats.inference_stats.success.ns) == (3, 500_000_000)
        assert (stats.inference_stats.compute_infer.ns, stats.inference_stats.fail.count) == (250_000_000, 4)
    assert not client.get_inference_statistics("feed", "1").model_stats
    with pytest.raises(InferenceServerException, match="there is no model 'food'"):
        client.get_inference_statistics("food")


def test_the_repository_lists_every_version(server, client):
    index = [
        (each.name, each.version, each.state, each.reason)
        for each in client.get_model_repository_index().models
    ]
    assert index == [("feed", "2", "READY", ""), ("feed", "1", "UNAVAILABLE", "damaged")]
    with grpc.insecure_channel(server.address) as channel:
        stub = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel)
        ready = stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True)).models
    assert [each.version for each in ready] == ["2"]


def test_models_are_loaded_and_let_go(service, client):
    client.load_model("empty")
    client.unload_model("feed")
    assert service.done == [("load", "empty"), ("unload", "feed")]
    with pytest.raises(InferenceServerException, match="there is no model 'food'"):
        client.load_model("food")


def test_one_model_is_loaded_at_a_time_and_who_comes_meanwhile_is_told_to_come_again():
    begun, go_on = threading.Event(), threading.Event()

    class Slow(KnownService):
        def load(self, model):
            begun.set()
            assert go_on.wait(20)

    with (
        served(Slow()) as server,
        triton.InferenceServerClient(server.address) as client,
        ThreadPoolExecutor(1) as another,
    ):
        first = another.submit(client.load_model, "feed")
        try:
            assert begun.wait(20)
            for act in (client.load_model, client.unload_model):
                with pytest.raises(InferenceServerException, match="come again") as caught:
                    act("feed")
                assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
        finally:
            go_on.set()
        first.result(timeout=20)
        client.load_model("feed")


def test_a_model_is_loaded_as_it_is(service, client):
    with pytest.raises(InferenceServerException, match="no parameter 'config'"):
        client.load_model("feed", config="{}")
    assert not service.done


def test_what_is_not_offered_is_unimplemented(client):
    with pytest.raises(InferenceServerException) as caught:
        client.get_trace_settings()
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
