import contextlib
import io
import json
import random
import socket
import ssl
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import trustme
from wire import TOKEN, answer_of, ask, spoken

from larix.errors import ConfigError
from larix.serve import Refusal, Why
from larix.serve.http import App, Door, HttpServer, Limits
from larix.serve.telemetry import access, logging_to

RANK = {"user": {"user_id": 5}, "candidates": {"video_id": [10, 3, 20]}}
HOST = b"host: localhost\r\n"
SOON = 20.0  # seconds; whatever should happen has, and what waits so long has waited in vain
SHORT = {"header_s": 0.5, "body_s": 0.5, "write_s": 1.0}


class Neighbour:
    """Somebody who asks for pages all the time over a connection that stays, and must always be answered in time."""

    def __init__(self, server):
        self._server, self._stop = server, threading.Event()
        self.slowest, self.asked, self.wrong = 0.0, 0, []
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _ask(self):
        with requests.Session() as session:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    told = session.post(f"{self._server.url}/v1/rank", json=RANK, timeout=10)
                    good = told.status_code == 200 and len(told.json()["items"]) == 3
                except requests.RequestException as error:
                    told, good = error, False
                if not good:
                    self.wrong.append(told)
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.asked += 1
                time.sleep(0.002)


def head(text, *lines):
    return b"\r\n".join([text, b"host: localhost", *lines, b"", b""])


HOSTILE = {
    "no HTTP": b"\x00\x01\x02\x16\x03\x01 hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "a path that never ends": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
    "a header that never ends": head(b"GET / HTTP/1.1", b"x: " + b"a" * 200_000),
    "too many headers": head(b"GET / HTTP/1.1", *(b"h%d: 1" % n for n in range(2000))),
    "a folded header": head(b"GET / HTTP/1.1", b"x: a", b" b"),
    "two lengths": head(b"POST /v1/rank HTTP/1.1", b"content-length: 3", b"content-length: 4") + b"{}  ",
    "a negative length": head(b"POST /v1/rank HTTP/1.1", b"content-length: -3") + b"{}",
    "a length beyond numbers": head(b"POST /v1/rank HTTP/1.1", b"content-length: " + b"9" * 40),
    "a length that is too large": head(b"POST /v1/rank HTTP/1.1", b"content-length: 99999999999"),
    "a body in chunks": head(b"POST /v1/rank HTTP/1.1", b"transfer-encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n",
    "chunks of garbage": head(b"POST /v1/rank HTTP/1.1", b"transfer-encoding: chunked") + b"zz\r\n{}\r\n",
    "a chunk that is too large": head(b"POST /v1/rank HTTP/1.1", b"transfer-encoding: chunked") + b"f" * 30,
    "chunks and a length": head(b"POST /v1/rank HTTP/1.1", b"transfer-encoding: chunked", b"content-length: 2") + b"{}",
    "an unknown coding": head(b"POST /v1/rank HTTP/1.1", b"transfer-encoding: gzip, chunked") + b"2\r\n{}\r\n0\r\n\r\n",
    "a body that does not come": head(b"POST /v1/rank HTTP/1.1", b"content-length: 100") + b"{",
    "a body that is not waited for": head(b"POST /v1/rank HTTP/1.1", b"content-length: 100", b"expect: 100-continue"),
    "headers in other letters": head(b"GET /v2 HTTP/1.1", b"x: \xff\xfe\x80"),
    "a path in other letters": b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path with signs": b"GET /v2/models/%00%ff%2e%2e%2f/ready?a=%zz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path upwards": b"GET /../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n",
    "somebody else's address": b"GET http://evil.example/v2 HTTP/1.1\r\nhost: evil.example\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\n\r\n",
    "another protocol": head(b"GET / HTTP/1.1", b"upgrade: websocket", b"connection: upgrade", b"sec-websocket-version: 13"),
    "an unknown method": head(b"SUMMON /v1/rank HTTP/1.1"),
    "a bomb": head(b"POST /v1/rank HTTP/1.1", b"content-encoding: gzip", b"content-length: 10") + b"\x1f\x8b\x08" + bytes(7),
    "half a request": b"POST /v1/rank HTTP/1.1\r\nhost: loc",
    "nothing": b"",
}  # fmt: skip
SILENT = {"half a request", "nothing", "HTTP/2"}  # which have no answer
FINE = {"headers in other letters", "another protocol"}  # which there is no harm in


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_answered_with_4xx_or_cut_off_in_time(serving, name):
    server = serving(**SHORT)
    began = time.monotonic()
    told = spoken(server, HOSTILE[name], wait_s=10)
    assert time.monotonic() - began < 5
    if name in SILENT:
        assert told is None
    elif name in FINE:
        assert told.status == 200
    else:
        assert told is not None
        assert 400 <= told.status < 500, told.body
    assert ask(server, "POST", "/v1/rank", RANK).status == 200


def test_neighbours_of_hostile_clients_stay_answered(serving):
    """Slow, half, huge and senseless requests from many clients at once, while somebody goes on asking for pages."""
    server = serving(**SHORT, timeout_s=5.0)
    rng = random.Random(0)
    with Neighbour(server) as neighbour, ThreadPoolExecutor(16) as attackers:
        work = [attackers.submit(hostile_client, server, rng.random()) for _ in range(400)]
        for each in work:
            each.result(timeout=60)
    assert neighbour.asked > 20
    assert not neighbour.wrong
    assert neighbour.slowest < 5
    assert server.app._bodies.held_bytes == 0


def hostile_client(server, seed):
    rng = random.Random(seed)
    data = bytearray(rng.choice(list(HOSTILE.values())))
    for _ in range(rng.randrange(4) if data else 0):  # some bytes of it are others
        data[rng.randrange(len(data))] = rng.randrange(256)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire:
        try:
            while data:  # in pieces of any size, slowly at times
                size = rng.choice([1, 7, 100, 10_000, 1_000_000])
                wire.sendall(data[:size])
                del data[:size]
                if len(data) < 1000 and rng.random() < 0.01:
                    time.sleep(0.05)
            end = rng.randrange(3)
            if end == 0:  # gone without a word
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif end == 1:
                wire.shutdown(socket.SHUT_WR)
                wire.recv(1000)
            else:
                wire.settimeout(0.3)
                wire.recv(1000)
        except OSError:
            pass


def test_slow_clients_are_cut_off_one_by_one_and_nobody_else_is(serving):
    """As many as may be connected send a byte now and then: they are cut off in time and others get in."""
    server = serving(**SHORT, connections=20)
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    try:
        for wire in slow:
            wire.sendall(b"POST /v1/ra")
        began = time.monotonic()
        assert ask(server, "POST", "/v1/rank", RANK).status == 200
        assert time.monotonic() - began < 5
    finally:
        for wire in slow:
            wire.close()


def test_a_body_that_drips_is_given_up_in_time(serving):
    server = serving(**SHORT)
    body = [b"x"] * 30
    began = time.monotonic()
    told = spoken(
        server,
        head(b"POST /v1/rank HTTP/1.1", b"content-length: 1000"),
        *body,
        between=lambda: time.sleep(0.1),
    )
    assert told is None or told.status == 408
    assert time.monotonic() - began < 10
    assert server.app.counts["POST", "/v1/rank", 408] == 1


def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(serving):
    server = serving(**SHORT, metrics=lambda: "x" * 30_000_000)
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect(("127.0.0.1", server.port))
        wire.sendall(head(b"GET /metrics HTTP/1.1"))
        time.sleep(4)
        wire.settimeout(5)
        taken = 0
        try:
            while more := wire.recv(1 << 20):
                taken += len(more)
        except ConnectionResetError:
            pass
        assert taken < 30_000_000


def test_an_idle_connection_is_closed_and_a_busy_one_is_kept(serving):
    server = serving(**SHORT)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire:
        for _ in range(4):
            wire.sendall(head(b"GET /v2 HTTP/1.1"))
            assert answer_of(wire).status == 200
            time.sleep(0.2)
        assert wire.recv(1) == b""


def test_a_full_server_refuses_what_it_has_not_read_and_is_itself_again_when_there_is_room(serving, service):
    server = serving(body_s=SOON, timeout_s=SOON)
    service.full = Refusal(Why.OVERLOADED, "the server is full", retry_after_s=0.5)
    for path in ("/v1/rank", "/v2/models/feed/infer", "/v2/models/feed/versions/7/infer"):
        told = ask(server, "POST", path, b"{ this is no JSON")
        assert (told.status, told.headers["retry-after"]) == (429, "1")
        assert told.document["retry_after_s"] == 0.5
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOON / 2) as wire:
        wire.sendall(head(b"POST /v1/rank HTTP/1.1", b"content-length: 6000"))
        assert answer_of(wire).status == 429  # of whose body not a byte has come
        wire.sendall(b"x" * 6000)  # it comes after all: the connection is none the worse
        service.full = None
        body = json.dumps(RANK).encode()
        wire.sendall(head(b"POST /v1/rank HTTP/1.1", b"content-length: %d" % len(body)) + body)
        assert answer_of(wire).status == 200
    assert service.turned_away == server.app.counts["POST", "/v1/rank", 429] + 2 == 4
    assert len(service.requests) == 1


@pytest.mark.parametrize("come", [0, 2999], ids=str)
def test_the_body_of_a_refused_call_that_never_comes_whole_is_given_up_in_time(serving, service, come):
    server = serving(body_s=0.5)
    service.full = Refusal(Why.OVERLOADED, "the server is full", retry_after_s=0.5)
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOON) as wire:
        wire.sendall(head(b"POST /v1/rank HTTP/1.1", b"content-length: 6000") + b"x" * come)
        assert answer_of(wire).status == 429
        wire.settimeout(SOON)
        with contextlib.suppress(ConnectionResetError):
            assert wire.recv(1) == b"", "its connection is closed"
    assert server.app._bodies.held_bytes == 0


def test_refused_calls_on_one_connection_are_all_answered(serving, service):
    server, service.full = serving(), Refusal(Why.OVERLOADED, "the server is full")
    whole = head(b"POST /v1/rank HTTP/1.1", b"content-length: 50000") + bytes(50_000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOON) as wire:
        for _ in range(50):
            wire.sendall(whole)
            assert answer_of(wire).status == 429
    assert server.app.counts["POST", "/v1/rank", 429] == 50


def test_a_full_server_refuses_nothing_but_what_is_to_be_scored(serving, service):
    service.full = Refusal(Why.OVERLOADED, "the server is full", retry_after_s=0.5)
    server = serving()
    for method, path, body, status in (
        ("GET", "/v2/health/live", None, 200),
        ("GET", "/v2/health/ready", None, 200),
        ("GET", "/metrics", None, 200),
        ("GET", "/v2/models/feed", None, 200),
        ("POST", "/v1/feedback", {"actions": [{"a": 1}]}, 200),
        ("POST", "/v1/sessions", {"user": {"user_id": 5}}, 201),
        ("POST", "/v2/repository/index", {}, 200),
    ):
        assert ask(server, method, path, body).status == status, path
    assert service.turned_away == 0


def test_several_requests_sent_at_once_are_answered_in_order(serving):
    server = serving()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire:
        wire.sendall(b"".join(head(b"GET /v2 HTTP/1.1", b"x-request-id: %d" % n) for n in range(3)))
        whole = b""
        while whole.count(b"HTTP/1.1 200") < 3:
            whole += wire.recv(65536)
        assert [whole.index(b"x-request-id: %d" % n) for n in range(3)] == sorted(
            whole.index(b"x-request-id: %d" % n) for n in range(3)
        )


def test_stopping_answers_what_is_under_way(serving, service):
    service.delay_s = 0.5
    server = serving()
    with ThreadPoolExecutor(4) as clients:
        waiting = [clients.submit(ask, server, "POST", "/v1/rank", RANK) for _ in range(4)]
        while len(service.requests) < 4:
            time.sleep(0.01)
        assert server.running
        server.stop()
        assert [each.result().status for each in waiting] == [200] * 4
    assert not server.running
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    made = trustme.CA()
    own = made.issue_cert("127.0.0.1", "localhost")
    files = SimplePaths(folder)
    made.cert_pem.write_to_path(files.trusted)
    own.cert_chain_pems[0].write_to_path(files.cert)
    own.private_key_pem.write_to_path(files.key)
    return files


class SimplePaths:
    def __init__(self, folder: Path):
        self.trusted, self.cert, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_others_are_served_with_tls_and_tokens(serving, authority):
    server = serving(tokens=[TOKEN], files={"host": "0.0.0.0", "cert": authority.cert, "key": authority.key})
    url = f"https://127.0.0.1:{server.port}/v1/rank"
    told = requests.post(
        url, json=RANK, verify=authority.trusted, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10
    )
    assert told.json()["items"][0]["item"] == 3
    assert requests.post(url, json=RANK, verify=authority.trusted, timeout=10).status_code == 401
    with pytest.raises(requests.exceptions.SSLError):
        requests.post(url, json=RANK, timeout=10)
    with pytest.raises(requests.RequestException):
        requests.post(url.replace("https", "http"), json=RANK, timeout=10)
    old = ssl.create_default_context(cafile=str(authority.trusted))
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire:
        old.wrap_socket(wire, server_hostname="127.0.0.1")


def held(**more):
    limits = Limits()
    return HttpServer(App([], limits=limits, door=Door()), limits=limits, **more)


def test_others_are_not_served_without_tls_or_without_tokens(authority):
    files = {"cert": authority.cert, "key": authority.key}
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"):
        for more in ({}, {"guarded": True}, files):
            with pytest.raises(ConfigError, match="tokens and TLS are needed"):
                held(host=host, **more)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"cert": Path("a.pem")}, "belong together"),
        ({"cert": Path("a.pem"), "key": Path("b.pem")}, "no file a.pem"),
        ({"port": 70000}, "cannot listen"),
    ],
)
def test_settings_that_cannot_work_are_refused(more, why):
    with pytest.raises(ConfigError, match=why):
        held(**more)


def test_a_port_is_not_shared_with_another_server(server):
    with pytest.raises(ConfigError, match="is another server there"):
        held(port=server.port)


def test_a_server_that_is_stopped_as_soon_as_it_started_has_ended(serving):
    for _ in range(20):
        server = serving()
        server.stop()
        assert not server.running
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1)


def test_a_certificate_that_is_none_is_told(tmp_path):
    for name in ("cert", "key"):
        (tmp_path / name).write_text("no PEM")
    server = held(cert=tmp_path / "cert", key=tmp_path / "key")
    with pytest.raises(ConfigError, match="cannot start"):
        server.start()
    server.stop()


def test_logs_of_the_process_are_left_as_they_are(serving, service):
    stream = io.StringIO()
    with logging_to(stream):
        server = serving(done=access)
        assert ask(server, "POST", "/v1/rank", RANK).status == 200
        service.fails = ValueError("a fault")
        assert ask(server, "POST", "/v1/rank", RANK).status == 500
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["status"] for line in lines if "status" in line] == [200, 500]
    assert any("a fault" in line.get("error", "") for line in lines)


def test_a_server_listens_on_ipv6_too(serving):
    try:
        server = serving(files={"host": "::1"})
    except ConfigError:
        pytest.skip("there is no IPv6 here")
    assert requests.get(f"{server.url}/v2", timeout=10).status_code == 200
