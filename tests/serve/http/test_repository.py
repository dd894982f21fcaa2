import gzip
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import tritonclient.http as triton
from asked import SIGNATURE
from tritonclient.utils import InferenceServerException
from wire import ask

# The protocol's own client, against a server that holds model `feed`: version 7, and 8, which is damaged.


@pytest.fixture
def client(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as made:
        yield made


def test_health_says_whether_it_lives_and_whether_it_is_ready(client, talk, service):
    assert client.is_server_live()
    assert client.is_server_ready()
    service.ready = False
    assert client.is_server_live()
    assert not client.is_server_ready()
    assert talk("GET", "/v2/health/ready").status == 400  # the protocol's word for no
    service.live = False
    assert not client.is_server_live()


def test_a_model_and_its_versions_are_ready_or_not(client):
    assert client.is_model_ready("feed")
    assert client.is_model_ready("feed", "7")
    assert not client.is_model_ready("feed", "8")
    assert not client.is_model_ready("feed", "1")
    assert not client.is_model_ready("other")


def test_metadata_tells_inputs_and_outputs(client):
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    told = client.get_model_metadata("feed")
    assert client.get_model_metadata("feed", "7") == told
    assert told["versions"] == ["7"]
    names = {each["name"] for each in told["inputs"]}
    assert names == {*SIGNATURE.context.names, *SIGNATURE.candidates.names, "tag.lengths"}
    assert [each["name"] for each in told["outputs"]] == ["is_click", "play", "value", "order"]
    config = client.get_model_config("feed")
    assert {each["name"] for each in config["input"] if not each["optional"]} == {"user_id", "video_id"}


def test_statistics_are_by_version(client):
    (one,) = client.get_inference_statistics()["model_stats"]
    assert (one["name"], one["version"], one["inference_count"], one["execution_count"]) == (
        "feed",
        "7",
        70,
        5,
    )
    assert one["inference_stats"]["success"] == {"count": 7, "ns": 50_000_000}
    assert client.get_inference_statistics("feed", "7")["model_stats"] == [one]
    assert client.get_inference_statistics("feed", "8")["model_stats"] == []


def test_models_are_listed_loaded_and_let_go(client):
    assert client.get_model_repository_index() == [
        {"name": "feed", "version": "8", "state": "UNAVAILABLE", "reason": "graph.json is damaged"},
        {"name": "feed", "version": "7", "state": "READY", "reason": ""},
    ]
    client.load_model("second")
    assert client.is_model_ready("second")
    client.unload_model("second")
    assert not client.is_model_ready("second")


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get_model_metadata("other"),
        lambda client: client.get_model_config("feed", "1"),
        lambda client: client.get_inference_statistics("other"),
        lambda client: client.load_model("other"),
        lambda client: client.unload_model("other"),
        lambda client: client.get_model_metadata("a/b"),
    ],
)
def test_what_there_is_not_is_not_found(client, call):
    with pytest.raises(InferenceServerException) as told:
        call(client)
    assert told.value.status() == "404"


def test_models_are_loaded_one_at_a_time_and_nobody_waits_for_it(serving, service):
    """However many ask to load: threads stay free for others, whose packed bodies need them."""
    begun, go_on = threading.Event(), threading.Event()

    def load(model):
        begun.set()
        assert go_on.wait(30)

    service.load = load
    server = serving(timeout_s=20.0)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, server, "POST", "/v2/repository/models/feed/load", {})
        assert begun.wait(20)
        for _ in range(40):
            told = ask(server, "POST", "/v2/repository/models/feed/load", {})
            assert told.status == 429
            assert told.headers["retry-after"] == "5"
        ranked = {
            "user": {"user_id": 5},
            "candidates": {"video_id": random.Random(0).sample(range(10**12), 9000)},
        }
        packed = gzip.compress(json.dumps(ranked).encode())
        told = ask(
            server, "POST", "/v1/rank", packed, {"content-encoding": "gzip", "accept-encoding": "gzip"}
        )
        assert told.status == 200
        assert told.headers["content-encoding"] == "gzip"  # on such a thread: the answer is long
        go_on.set()
        assert first.result(20).status == 200
