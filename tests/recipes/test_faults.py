"""What goes wrong around a server of a real bundle, over HTTP and gRPC, while neighbours ask: each ends in a clear state."""

import ctypes
import json
import shutil
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import grpc
import numpy as np
import onlining
import pytest
from followed import bundle_of, request_of
from onlining import Recorder
from shop_bundle import exported
from tritonclient.grpc import service_pb2
from wire import ask

from larix.recipes.served import Back, Place, serving
from larix.recipes.serving import messages_of
from larix.serve import oip
from larix.serve.bundle import Bundle
from larix.serve.grpc import GrpcLimits, GrpcServer
from larix.serve.http import App, Door, HttpServer, Limits, routes
from larix.serve.http.logged import LoggedPeople
from larix.serve.request import Request
from larix.serve.telemetry.metrics import Metrics
from larix.train.online import Published

METHOD = "/inference.GRPCInferenceService/ModelInfer"
YEAR_S = 365 * 86400
SHORT = {"header_s": 1.0, "body_s": 1.0, "write_s": 1.0, "timeout_s": 10.0}


@contextmanager
def listening(place, back):
    """As recipes.served has it, with limits that a test can wait for."""
    with ExitStack() as stack:
        service = stack.enter_context(serving([place], back))
        limits = Limits(**SHORT)
        metrics = Metrics(service, lambda: app.counts)
        app = App(routes(service, limits, guarded=False, metrics=metrics), limits=limits, door=Door(None))
        server = HttpServer(app, limits=limits)
        server.start()
        stack.callback(server.stop)
        server.grpc = GrpcServer(service, limits=GrpcLimits(body_s=1.0, alive_s=1.0, timeout_s=10.0))
        server.grpc.start()
        stack.callback(server.grpc.stop)
        server.service, server.app = service, app
        yield server


def body_of(bundle):
    """What a client sends for the first logged sample."""
    people = LoggedPeople(bundle.model, bundle.signature, bundle.warm)
    one = people.example(people.people()[0][0])
    return {"context": one.context, "user": one.user, "candidates": one.candidates, "timeout_ms": 10_000}


@pytest.fixture
def shop(tmp_path):
    exported(tmp_path / "bundles", "step-7")
    with listening(Place(name="shop", folder=tmp_path / "bundles"), Back(streams=2)) as server:
        server.body = body_of(Bundle.open(tmp_path / "bundles" / "step-7"))
        yield server


class Neighbour(threading.Thread):
    """Asks for pages until it is told to end. ``statuses``, ``seconds``: of all calls; ``stamps``: of the answers."""

    def __init__(self, server, call):
        super().__init__()
        self.statuses, self.seconds, self.stamps = [], [], []
        self._server, self._call, self._over = server, call, threading.Event()

    def run(self):
        while not self._over.is_set():
            began = time.monotonic()
            try:
                status, stamp = self._call(self._server)
            except Exception as error:
                status, stamp = repr(error), None
            self.seconds.append(time.monotonic() - began)
            self.statuses.append(status)
            self.stamps.append(stamp)
            time.sleep(0.005)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()


def over_http(server, body=None):
    told = ask(server, "POST", "/v1/rank", body or server.body)
    return told.status, told.document.get("stamp")


def over_grpc(server):
    with grpc.insecure_channel(server.grpc.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        reply = channel.unary_unary(METHOD)(message(server), timeout=10)
        return 200, service_pb2.ModelInferResponse.FromString(reply).model_version


def message(server):
    made = service_pb2.ModelInferRequest(model_name="shop")
    signature = server.service.signature("shop")
    for schema, values in (
        (
            signature.context,
            {name: [one] for name, one in (server.body["user"] | server.body["context"]).items()},
        ),
        (signature.candidates, server.body["candidates"]),
    ):
        for field in schema:
            if any(isinstance(one, list | type(None)) for one in values[field.name]):
                continue  # what may be missing is left out
            array = np.array(values[field.name])
            tensor = (
                oip.from_values(field.name, "BYTES", array.shape, array.tolist())
                if array.dtype.kind == "U"
                else oip.Tensor.of(field.name, array)
            )
            made.inputs.add(name=field.name, datatype=tensor.datatype, shape=tensor.shape)
            made.raw_input_contents.append(bytes(tensor.raw()))
    return made.SerializeToString()


def eventually(true, seconds=30.0):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.02)


def test_when_all_its_threads_are_killed_those_under_way_are_told_and_others_answered(shop):
    with Neighbour(shop, over_http) as neighbour:
        for _ in range(5):
            for each in threading.enumerate():
                if each.name == "engine":
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(each.ident), ctypes.py_object(SystemExit)
                    )
            time.sleep(0.2)
        eventually(lambda: shop.service.stats().engine.replaced >= 5)
    assert set(neighbour.statuses) <= {200, 500}
    assert neighbour.statuses.count(200) > 10
    assert [over_http(shop)[0] for _ in range(20)] == [200] * 20
    assert ask(shop, "GET", "/v2/health/ready").status == 200


def test_a_damaged_bundle_is_told_by_name_while_the_one_before_answers(shop, tmp_path):
    def told():
        index = ask(shop, "POST", "/v2/repository/index", {}).document
        return {each["version"]: (each["state"], each.get("reason", "")) for each in index}

    with Neighbour(shop, over_http) as neighbour:
        other = shutil.copytree(tmp_path / "bundles" / "step-7", tmp_path / "bundles" / ".step-8")
        whole = (other / "sample.json").read_bytes()
        (other / "sample.json").write_bytes(whole[:-1])
        other = other.rename(tmp_path / "bundles" / "step-8")
        eventually(lambda: told().get("step-8", ("", ""))[0] == "UNAVAILABLE")
        assert "sample.json" in told()["step-8"][1]
        assert over_http(shop)[0] == 200
        (other / "sample.json").write_bytes(whole)
        assert ask(shop, "POST", "/v2/repository/models/shop/load", {}).status == 200
        assert shop.service.models()[0].live == "step-8"
    assert set(neighbour.statuses) == {200}


def stall_at_the_head(server):
    return connected(server.port, b"POST /v1/rank HTTP/1.1\r\nho")


def stall_in_the_body(server):
    body = json.dumps(server.body).encode()
    head = f"POST /v1/rank HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    return connected(server.port, head + body[: len(body) // 2])


def what_is_left(wire):
    """All that a connection still brings until the server ends it."""
    wire.settimeout(20)
    told = b""
    with suppress(ConnectionResetError):
        while more := wire.recv(1 << 20):
            told += more
    return told


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def stall_at_the_preface(server):
    return connected(server.grpc.port, PREFACE[:10])


def stall_in_a_frame(server):
    return connected(server.grpc.port, PREFACE + b"\0\1\0\1\4\0\0\0\1" + b"\x83")


def connected(port, data):
    wire = socket.create_connection(("127.0.0.1", port))
    wire.sendall(data)
    return wire


class Stalled:
    """gRPC clients that begin a message and never send it."""

    def __init__(self, server, number):
        self._over = threading.Event()
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.insecure_channel(server.grpc.address, options) for _ in range(number)]
        self.calls = [each.stream_unary(METHOD).future(self._nothing()) for each in self._channels]

    def close(self):
        self._over.set()
        for each in self._channels:
            each.close()

    def _nothing(self):
        self._over.wait(30)
        yield b""


@pytest.mark.parametrize("neighbours", [over_http, over_grpc])
def test_clients_that_stall_are_cut_off_while_neighbours_are_answered_in_time(shop, neighbours):
    """As many of each kind as there are threads anywhere, and more: before a request and in it, over both protocols."""
    kinds = (stall_at_the_head, stall_in_the_body, stall_at_the_preface, stall_in_a_frame)
    with Neighbour(shop, neighbours) as quiet:
        time.sleep(1)
    slow = [kind(shop) for kind in kinds for _ in range(40)]
    halves = Stalled(shop, 20)
    try:
        with Neighbour(shop, neighbours) as neighbour:
            eventually(lambda: all(each.done() for each in halves.calls))
            eventually(lambda: shop.app._bodies.held_bytes == 0)
            ends = [what_is_left(wire) for wire in slow]
    finally:
        halves.close()
        for wire in slow:
            wire.close()
    assert all(told == b"" or told.startswith(b"HTTP/1.1 408") for told in ends[:80]), set(ends[:80])
    assert shop.app.counts["POST", "/v1/rank", 408] == 40
    assert {each.code() for each in halves.calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert set(neighbour.statuses) == {200}
    assert len(neighbour.statuses) > 20
    assert np.median(neighbour.seconds) < 5 * np.median(quiet.seconds) + 0.05
    assert max(neighbour.seconds) < 2.0
    assert over_http(shop)[0] == 200
    assert over_grpc(shop)[0] == 200


def test_a_wall_clock_that_jumps_is_seen_by_nobody_who_asks_or_is_followed(tmp_path, monkeypatch):
    """Years ahead and back with every batch, for trainer, log and server alike, while pages are asked for."""
    start = onlining.begin(tmp_path / "start").folder
    samples = onlining.feed(tmp_path / "feed", rows=2400)
    records = samples.slice(1500, 40).combine_chunks().to_batches()[0]
    with onlining.log_of(tmp_path / "log", samples) as log:
        onlining.crash(start, log, tmp_path / "run", at=2)
        bundle = bundle_of(tmp_path / "run", records, tmp_path / "bundles" / "first")
        place = Place(name="problem", folder=tmp_path / "bundles", run=tmp_path / "run")
        back = Back(streams=2, follow=partial(messages_of, log=log), dense_s=0.1)
        with listening(place, back) as server:
            (context, candidates), _ = request_of(bundle.signature, records)
            server.body = body_of(bundle)
            session = server.service.sessions.open(model="problem", context=context, ttl_s=60.0).result(10)
            real, real_ns, jump = time.time, time.time_ns, [0]
            monkeypatch.setattr(time, "time", lambda: real() + jump[0])
            monkeypatch.setattr(time, "time_ns", lambda: real_ns() + jump[0] * 10**9)
            monkeypatch.setattr("larix.serve.models.following.time", lambda: real() + jump[0])
            batches, ages = [], []

            def leap(progress):
                batches.append(progress)
                jump[0] = (-1) ** len(batches) * YEAR_S
                ages.append(server.service.stats().versions[0].gauges["delta_age_s"])
                time.sleep(0.2)

            with Neighbour(server, over_http) as neighbour:
                recorder = Recorder(then=leap)
                onlining.run(
                    start, log, tmp_path / "run", watcher=recorder, save_every_s=1e9, dense_every_s=0.2
                )
                last = recorder.of(Published)[-1].sequence
                eventually(lambda: over_http(server)[1]["dense"] == last)
            jump[0] = 0
            answer = server.service.rank(Request(id="r", context=context, candidates=candidates)).result(10)
            assert (answer.stamp.rows, answer.stamp.dense) == (last, last)
            asked = Request(id="s", session=session.id, candidates=candidates)
            scored = server.service.sessions.score(asked).result(10)
            assert len(scored.order) == len(candidates)
            assert server.service.models()[0].versions[0].reason == ""
    assert len(batches) > 10
    assert min(ages) >= 0
    assert set(neighbour.statuses) == {200}
    rows = [stamp["rows"] for stamp in neighbour.stamps]
    assert rows == sorted(rows)
    assert len(set(rows)) > 5
    assert all(stamp["dense"] <= stamp["rows"] for stamp in neighbour.stamps)
    assert max(neighbour.seconds) < 2.0
