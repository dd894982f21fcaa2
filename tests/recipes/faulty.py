"""A server of a real bundle over HTTP and gRPC, with limits that tests can wait for; neighbours that ask, clients that stall."""

import json
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress

import grpc
import numpy as np
from tritonclient.grpc import service_pb2
from wire import ask

from larix.recipes.served import serving
from larix.serve import oip
from larix.serve.grpc import GrpcLimits, GrpcServer
from larix.serve.http import App, Door, HttpServer, Limits, routes
from larix.serve.http.logged import LoggedPeople
from larix.serve.telemetry.metrics import Metrics

METHOD = "/inference.GRPCInferenceService/ModelInfer"
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


def eventually(true, seconds=120.0):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.02)


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
