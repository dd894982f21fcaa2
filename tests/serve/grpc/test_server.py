"""What the server holds to itself: who is let in, how long and how large a call may be, and that nobody hurts a neighbour."""

import gzip
import os
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.rpc import error_details_pb2
from grpc_served import PARENT, Followed, KnownService, answer_to, served
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from larix.errors import ConfigError
from larix.serve import Refusal, Why
from larix.serve.grpc import GrpcLimits, GrpcServer

METHOD = "/inference.GRPCInferenceService/ModelInfer"
TOKEN = "Bearer " + "t" * 32


def message(n=2):
    made = service_pb2.ModelInferRequest(model_name="feed")
    for name, ids in (("user_id", np.array([5])), ("video_id", np.arange(n))):
        made.inputs.add(name=name, datatype="INT64", shape=ids.shape)
        made.raw_input_contents.append(ids.tobytes())
    return made.SerializeToString()


def infer(channel, data=None, **more):
    reply = channel.unary_unary(METHOD)(message() if data is None else data, **more)
    return service_pb2.ModelInferResponse.FromString(reply)


def refused(channel, data=None, **more):
    with pytest.raises(grpc.RpcError) as caught:
        infer(channel, data, **more)
    return caught.value


def until(true, seconds=10.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.005)


@pytest.fixture
def service():
    return KnownService()


@pytest.fixture
def server(service):
    with served(service, limits=GrpcLimits(message_bytes=1 << 20, calls=8, body_s=0.3, stop_s=0.5)) as server:
        yield server


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def test_a_calls_deadline_travels_with_the_request(service, channel):
    before = time.monotonic()
    infer(channel, timeout=20)
    assert before + 19 < service.requests[-1].deadline < time.monotonic() + 20.5


def test_a_full_server_refuses_what_it_has_not_read(service, server, channel):
    service.full = Refusal(Why.OVERLOADED, "the server is full", retry_after_s=0.5)
    error = refused(channel, b"\xff this is no message")
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "500"
    never = threading.Event()
    with pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary(METHOD)(iter(never.wait, True), timeout=20)  # never sends its message
    never.set()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert triton.InferenceServerClient(server.address).is_server_live()
    service.full = None
    assert infer(channel).model_name == "feed"
    assert len(service.requests) == 1


def test_without_a_deadline_the_servers_holds_and_none_is_longer_than_the_longest(service):
    limits = GrpcLimits(timeout_s=2, longest_s=5, stop_s=0.5)
    with served(service, limits=limits) as server, grpc.insecure_channel(server.address) as channel:
        for timeout, expected in ((None, 2), (4, 4), (60, 5)):
            infer(channel, timeout=timeout)
            left = service.requests[-1].deadline - time.monotonic()
            assert expected - 1 < left <= expected + 0.5


def test_an_answer_that_does_not_come_is_too_late_and_its_work_is_dropped(service):
    service.slow = True
    limits = GrpcLimits(timeout_s=0.1, stop_s=0.5)
    with served(service, limits=limits) as server, grpc.insecure_channel(server.address) as channel:
        assert refused(channel).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        until(lambda: service.futures[0].cancelled())


def test_when_the_client_gives_up_the_work_is_dropped(service, channel):
    service.slow = True
    call = channel.unary_unary(METHOD).future(message())
    until(lambda: service.futures)
    call.cancel()
    until(lambda: service.futures[0].cancelled())


def test_an_overloaded_server_says_when_to_come_again(service, channel):
    service.error = Refusal(Why.OVERLOADED, "too much is asked", retry_after_s=0.25)
    error = refused(channel)
    trailing = dict(error.trailing_metadata())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert trailing["grpc-retry-pushback-ms"] == "250"
    assert error_details_pb2.RetryInfo.DESCRIPTOR.full_name.encode() in trailing["grpc-status-details-bin"]


def test_a_client_with_a_retry_policy_comes_again_when_it_is_told_to(service, server):
    service.error = Refusal(Why.OVERLOADED, "too much is asked", retry_after_s=0.2)
    policy = (
        '{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 3, "initialBackoff": "20s", "maxBackoff": "20s",'
        ' "backoffMultiplier": 1, "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]}'
    )
    with grpc.insecure_channel(server.address, [("grpc.service_config", policy)]) as channel:
        call = channel.unary_unary(METHOD).future(message())
        until(lambda: service.requests)
        service.error = None
        assert service_pb2.ModelInferResponse.FromString(call.result(timeout=10)).model_name == "feed"
        assert len(service.requests) == 2


def test_only_those_with_a_token_are_let_in_and_health_is_everybodys(service):
    with served(service, bearer=lambda given: "ann" if given == TOKEN else None) as server:
        with grpc.insecure_channel(server.address) as channel:
            for metadata in ((), (("authorization", "Bearer wrong"),)):
                error = refused(channel, metadata=metadata)
                assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            assert not service.requests
            assert infer(channel, metadata=(("authorization", TOKEN),)).model_version == "2"
        with triton.InferenceServerClient(server.address) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            with pytest.raises(InferenceServerException, match="no known token"):
                client.get_server_metadata()
            assert client.get_server_metadata(headers={"authorization": TOKEN}).name == "larix"


def test_who_has_no_token_is_refused_before_the_message_is_read(service):
    asked = []
    with served(service, bearer=lambda given: asked.append(given)) as server:
        with grpc.insecure_channel(server.address) as channel:
            stream = channel.stream_unary(METHOD)
            with pytest.raises(grpc.RpcError) as caught:
                stream(iter(lambda: time.sleep(0.05) or b"", b"never"), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert asked == [None]


def test_tls_is_spoken_with_a_certificate(service, tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*words, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    with served(service, cert=cert, key=key, bearer=lambda _: "ann", host="127.0.0.1") as server:
        credentials = grpc.ssl_channel_credentials(cert.read_bytes())
        with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
            assert infer(channel).model_name == "feed"
        with socket.create_connection((server.host, server.port)) as plain:
            context = ssl.create_default_context(cadata=cert.read_text())
            context.set_alpn_protocols(["h2"])
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                assert secure.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize("missing", ["cert", "bearer"])
def test_nobody_else_can_reach_a_server_without_tokens_and_tls(service, tmp_path, missing):
    (tmp_path / "pem").touch()
    given = {"cert": tmp_path / "pem", "key": tmp_path / "pem", "bearer": lambda _: None}
    if missing == "cert":
        del given["key"]
    del given[missing]
    with pytest.raises(ConfigError, match="is not loopback"):
        GrpcServer(service, limits=GrpcLimits(), host="0.0.0.0", **given)


def test_a_port_that_is_taken_is_told(service, server):
    with pytest.raises(ConfigError, match="cannot listen at"), served(service, port=server.port):
        pass


def test_a_key_without_its_certificate_is_told(service, tmp_path):
    with pytest.raises(ConfigError, match="belong together"):
        GrpcServer(service, limits=GrpcLimits(), key=tmp_path)
    with pytest.raises(ConfigError, match="there is no file"):
        GrpcServer(service, limits=GrpcLimits(), key=tmp_path / "no", cert=tmp_path / "no")


def test_limits_are_above_0():
    with pytest.raises(ConfigError, match="limit calls is 0"):
        GrpcLimits(calls=0)
    with pytest.raises(ConfigError, match="above longest_s"):
        GrpcLimits(timeout_s=100)


def test_too_long_a_message_is_refused_packed_or_not(service, channel):
    big = b"\x3a" + b"\xff\xff\xff\x01" + b"\0" * (4 << 20)
    for compression in (None, grpc.Compression.Gzip):
        error = refused(channel, big, compression=compression)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(gzip.compress(big)) < 1 << 20
    assert infer(channel, compression=grpc.Compression.Gzip).model_name == "feed"
    assert len(service.requests) == 1


def test_too_long_metadata_are_refused(channel):
    error = refused(channel, metadata=(("x", "y" * (64 << 10)),))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert infer(channel).model_name == "feed"


def test_a_client_that_never_finishes_its_message_is_cut_off(channel):
    def nothing():
        time.sleep(20)
        yield b""

    started = time.monotonic()
    with pytest.raises(grpc.RpcError, match="not there whole after") as caught:
        channel.stream_unary(METHOD)(nothing())
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 10


def test_a_call_without_a_message_is_told(channel):
    with pytest.raises(grpc.RpcError, match="without a message") as caught:
        channel.stream_unary(METHOD)(iter(()))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_more_calls_than_allowed_are_refused_and_the_others_answered(service, server):
    service.slow = True
    channels = [
        grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(2)
    ]
    try:
        calls = [channels[at % 2].unary_unary(METHOD).future(message(), timeout=30) for at in range(16)]
        until(lambda: sum(call.done() for call in calls) == 8)
        refusals = [call for call in calls if call.done()]
        assert {call.code() for call in refusals} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        for request, future in zip(list(service.requests), service.futures, strict=True):
            future.set_result(answer_to(request))
        assert all(call.result(timeout=10) for call in calls if call not in refusals)
    finally:
        for each in channels:
            each.close()


def test_stopping_answers_what_is_under_way(service):
    service.slow = True
    with (
        served(service, limits=GrpcLimits(stop_s=10)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        call = channel.unary_unary(METHOD).future(message(), timeout=30)
        until(lambda: service.requests)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        time.sleep(0.1)
        service.futures[0].set_result(answer_to(service.requests[0]))
        assert call.result(timeout=10)
        stopping.join(10)
        assert not server.running


def test_hostile_bytes_on_the_wire_hurt_no_neighbour(server, channel):
    choose = random.Random(3)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    settings = b"\0\0\0\4\0\0\0\0\0"
    for number in range(40):
        with socket.create_connection((server.host, server.port), timeout=5) as raw:
            start = choose.choice([b"", b"GET / HTTP/1.1\r\n\r\n", preface, preface + settings])
            frame = (
                choose.randbytes(3)
                + bytes([choose.randrange(12), choose.randrange(256)])
                + choose.randbytes(4)
            )
            try:
                raw.sendall(start + choose.choice([b"", frame]) + choose.randbytes(choose.randrange(400)))
                if number % 4 == 0:
                    raw.shutdown(socket.SHUT_WR)
            except OSError:
                continue  # it was cut off already, which is fine
        if number % 10 == 0:
            assert infer(channel).model_name == "feed"
    assert infer(channel).model_name == "feed"


def test_damaged_messages_are_refused_and_hurt_no_neighbour(server, channel):
    choose = random.Random(5)
    whole = message(3)
    codes = set()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(choose.randrange(1, 6)):
            data[choose.randrange(len(data))] = choose.randrange(256)
        if choose.random() < 0.3:
            del data[choose.randrange(len(data)) :]
        try:
            infer(channel, bytes(data))
        except grpc.RpcError as error:
            codes.add(error.code())
    allowed = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert grpc.StatusCode.INVALID_ARGUMENT in codes
    assert codes <= allowed, codes
    assert infer(channel).model_name == "feed"


def test_many_clients_at_once_get_their_own_answers(service, server):
    def ask(number):
        with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as own:
            made = service_pb2.ModelInferRequest.FromString(message(number + 1))
            made.id = f"r{number}"
            answer = infer(own, made.SerializeToString())
            return answer.id == f"r{number}" and answer.outputs[0].shape[0] == number + 1

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(40)))


def test_a_call_whose_work_others_cancel_is_told_at_once(service, channel):
    service.slow = True
    call = channel.unary_unary(METHOD).future(message(), timeout=60)
    until(lambda: service.futures)
    service.futures[0].cancel()
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert call.details() == "the answer did not come in time"  # ours: the client has not given up


def test_without_grpcio_it_says_what_to_install():
    code = (
        "import sys\nsys.modules['grpc'] = None\nfrom larix.serve.grpc import GrpcLimits, GrpcServer\n"
        "try:\n    GrpcServer(None, limits=GrpcLimits())\nexcept Exception as error:\n    print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert "pip install 'larix[grpc]'" in result.stdout, result.stderr


def test_a_call_continues_the_trace_that_its_metadata_carry():
    service = Followed()
    with served(service) as server, grpc.insecure_channel(server.address) as channel:
        infer(channel, metadata=[("traceparent", PARENT)])
        infer(channel)
    first, second = service.spans()
    assert f"{first.context.trace_id:032x}" == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert second.parent is None
