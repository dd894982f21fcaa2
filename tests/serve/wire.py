"""Speaking HTTP to a server by hand, bytes as they are, for tests of what clients do not do."""

import json
import socket
from types import SimpleNamespace

TOKEN = "a-token-that-is-long-enough"


def ask(server, method, path, body=None, headers=None):
    """One call over one connection."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    told = {"host": f"127.0.0.1:{server.port}", "content-length": str(len(raw)), **(headers or {})}
    head = (
        f"{method} {path} HTTP/1.1\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in told.items())
        + "\r\n"
    )
    return spoken(server, head.encode() + raw)


def spoken(server, *parts, wait_s=20.0, between=None):
    """Send bytes as they are and read until one answer is whole or the connection ends."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait_s) as wire:
        for part in parts:
            try:
                wire.sendall(part)
            except OSError:
                break
            if between is not None:
                between()
        return answer_of(wire)


def answer_of(wire):
    """The next answer on a connection, None if it ends without one."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = wire.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 1"):  # go on, says the server; the answer is still to come
        return answer_of(wire)
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", 0))
    while len(body) < length:
        more = wire.recv(65536)
        assert more, "the answer breaks off"
        body += more
    try:
        document = json.loads(body) if headers.get("content-type") == "application/json" else None
    except ValueError:
        document = None
    return SimpleNamespace(status=int(first.split()[1]), headers=headers, body=body, document=document)
