"""Open-loop load over HTTP/1.1, in a process of its own: one request every 1/RATE seconds, whether or not others were answered.

A request's latency counts from the moment that it was planned for, so that one that had to wait for a stalled server, or for
a free connection, is not left out. Told on standard input, a JSON object a line; answers by one. Knows nothing of what is sent.
"""

import json
import os
import selectors
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FRAME = struct.Struct("<I")
GIVE_UP_S = 5.0  # after the last planned request, answers are waited for so long; later ones count as failed


@dataclass(slots=True, eq=False)
class Connection:
    """One socket and what is on it: the number of the request that it waits for, -1 if it is free."""

    socket: socket.socket
    request: int = -1
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)
    whole: int = -1  # bytes of the response, once its head is there


def write_requests(path: Path, head: str, bodies: Sequence[bytes]) -> None:
    """Write complete requests to a file; ``head``: the request line and headers, but for the length."""
    with path.open("wb") as file:
        for body in bodies:
            request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            file.write(FRAME.pack(len(request)) + request)


def read_requests(path: Path) -> list[bytes]:
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        (size,) = FRAME.unpack_from(data, at)
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


class Load:
    """Sends ``requests`` in turn to ``address`` over at most ``connections`` at a time.

    ``seen``: is given the number of a request and its response, of those that were answered.
    ``planned`` and ``latency``: of the last run, by request, in seconds; the former by ``time.perf_counter``.
    """

    def __init__(
        self,
        address: tuple[str, int],
        requests: Sequence[bytes],
        connections: int,
        seen: Callable[[int, bytearray], None] = lambda number, response: None,
    ) -> None:
        self._address, self._requests, self._seen = address, requests, seen
        self._selector = selectors.SelectSelector()  # the only one that waits for less than a millisecond
        self._free: list[Connection] = []
        self._most = connections
        self._open = 0

    def run(self, rate: float, seconds: float) -> dict[str, Any]:
        """Send ``rate`` a second for so many seconds; latencies in seconds, inf for those that failed."""
        count = max(1, int(rate * seconds))
        self.latency = np.full(count, np.inf)
        self._status: dict[int, int] = {}
        self._done = sent = most_late = 0
        waiting: deque[int] = deque()
        self.planned = time.perf_counter() + 0.01 + np.arange(count) / rate
        end = self.planned[-1] + GIVE_UP_S
        while self._done < count:
            now = time.perf_counter()
            while sent < count and self.planned[sent] <= now:
                waiting.append(sent)
                sent += 1
            while waiting and self._give(waiting[0]):
                waiting.popleft()
            most_late = max(most_late, len(waiting))
            if now > end:
                break
            soon = self.planned[sent] if sent < count else end
            for key, events in self._selector.select(max(0.0, soon - time.perf_counter())):
                self._go_on(key.data, events)
        answered = self.latency[np.isfinite(self.latency)]
        last = self.planned[0] + (np.arange(count) / rate + self.latency)[np.isfinite(self.latency)].max(
            initial=0
        )
        self._end()
        quantiles = {
            name: float(np.quantile(self.latency, share, method="higher"))
            for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))
        }
        return {
            "rate": rate,
            "sent": count,
            "answered": len(answered),
            "answered_per_s": len(answered) / max(1e-9, last - self.planned[0]),
            "status": {str(status): number for status, number in sorted(self._status.items())},
            "answered_p99": float(np.quantile(answered, 0.99, method="higher")) if len(answered) else None,
            "without_connection": most_late,
            "latency": {name: value if np.isfinite(value) else None for name, value in quantiles.items()},
        }

    def _give(self, number: int) -> bool:
        """Send a request on a free connection; False if there is none."""
        if self._free:
            connection = self._free.pop()
        elif self._open < self._most:
            connection = self._connect()
        else:
            return False
        connection.request = number
        connection.unsent = memoryview(self._requests[number % len(self._requests)])
        self._send(connection)
        return True

    def _connect(self) -> Connection:
        made = socket.create_connection(self._address, timeout=5)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        connection = Connection(made)
        self._selector.register(made, selectors.EVENT_READ, connection)
        self._open += 1
        return connection

    def _send(self, connection: Connection) -> None:
        try:
            connection.unsent = connection.unsent[connection.socket.send(connection.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        self._selector.modify(connection.socket, events, connection)

    def _go_on(self, connection: Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send(connection)
        if not events & selectors.EVENT_READ:
            return
        try:
            data = connection.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        connection.received += data
        if connection.whole < 0:
            connection.whole = length_of(connection.received)
        if 0 <= connection.whole <= len(connection.received):
            self._finish(connection)

    def _finish(self, connection: Connection) -> None:
        number, status = connection.request, int(connection.received[9:12])
        self._status[status] = self._status.get(status, 0) + 1
        if status == 200:
            self.latency[number] = time.perf_counter() - self.planned[number]
            self._seen(number, connection.received)
        self._done += 1
        closing = b"connection: close" in connection.received[:2048].lower()
        connection.request, connection.whole = -1, -1
        connection.received.clear()
        if closing:
            self._drop(connection)
        else:
            self._free.append(connection)

    def _drop(self, connection: Connection) -> None:
        if connection.request >= 0:
            self._status[0] = self._status.get(0, 0) + 1
            self._done += 1
        if connection in self._free:
            self._free.remove(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._open -= 1

    def _end(self) -> None:
        """Close what still waits: a late answer must not be taken for another's."""
        for key in list(self._selector.get_map().values()):
            if key.data.request >= 0:
                key.data.request = -1
                self._drop(key.data)


def length_of(received: bytearray) -> int:
    """Bytes of the whole response, -1 if its head is not there yet."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return -1
    for line in bytes(received[:end]).lower().split(b"\r\n")[1:]:
        if line.startswith(b"content-length:"):
            return end + 4 + int(line[15:])
    raise SystemExit(f"a response tells no length: {bytes(received[:end])!r}")


def main() -> None:
    host, port, path, connections, cores = sys.argv[1:]
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    load = Load((host, int(port)), read_requests(Path(path)), int(connections))
    for text in sys.stdin:
        print(json.dumps(load.run(**json.loads(text))), flush=True)


if __name__ == "__main__":
    main()
