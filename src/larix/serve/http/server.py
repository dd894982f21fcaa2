"""The HTTP server: granian in a thread of this process, on a socket of ours. Nothing else here knows granian.

What it holds to itself: the size and time of a request's head, connections at a time, and TLS.
"""

import asyncio
import socket
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import uvloop
from granian import _granian
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server

from larix.errors import ConfigError
from larix.serve.http.app import App
from larix.serve.http.limits import Limits
from larix.serve.reach import check_reach

BACKLOG = 1024
_LET_LOGS_BE = {
    "incremental": True,
    "handlers": {},
    "loggers": {},
}  # otherwise it closes all handlers of the process


def event_loop() -> asyncio.AbstractEventLoop:
    """A loop as the server has it: what comes and goes is handled in native code, several times faster than in asyncio's own."""
    return uvloop.new_event_loop()


class HttpServer:
    """Serves ``app`` at ``host`` and ``port``, 0 for any free one, once it is started.

    ``cert``, ``key``: PEM files for TLS, 1.2 or newer. ConfigError if ``host`` is not loopback and there is no TLS, or no
    token is asked for (``guarded``); or if it cannot listen there.
    """

    def __init__(
        self,
        app: App,
        *,
        limits: Limits,
        host: str = "127.0.0.1",
        port: int = 0,
        guarded: bool = False,
        cert: Path | None = None,
        key: Path | None = None,
    ) -> None:
        check_reach(host, guarded=guarded, cert=cert, key=key)
        self._listener = _listening(host, port, limits)
        self.host, self.port = host, int(self._listener.getsockname()[1])
        self._secure = cert is not None
        self._limits = limits
        self._settings: dict[str, Any] = {"ssl_cert": cert, "ssl_key": key}
        self._app = app
        self._server: _Embedded | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="larix-http", daemon=True)

    @property
    def url(self) -> str:
        """Where it is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self._secure else ''}://{host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether requests are taken."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Take requests from now on. ConfigError if certificate and key are no good."""
        self._thread.start()
        try:
            self._begun.result()
        except (OSError, ValueError) as error:  # of TLS, too
            raise ConfigError(
                f"the HTTP server cannot start: {error}; look at certificate and key"
            ) from error

    def stop(self) -> None:
        """Take no more connections, answer what is under way, and end; at the latest after ``Limits.stop_s``."""
        if self._thread.is_alive() and self._loop is not None and self._server is not None:
            self._loop.call_soon_threadsafe(self._server.stop)
            self._thread.join(self._limits.stop_s)
        self._listener.close()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until it has ended."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=event_loop) as runner:
                self._loop = runner.get_loop()
                runner.run(self._serve())
        except BaseException as error:
            if self._begun.done():
                raise
            self._begun.set_exception(error)

    async def _serve(self) -> None:
        limits = self._limits
        self._server = _Embedded(
            self._app,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            backpressure=limits.connections,
            http1_settings=HTTP1Settings(
                header_read_timeout=int(limits.header_s * 1000), max_buffer_size=limits.header_bytes
            ),
            log_enabled=False,
            log_dictconfig=_LET_LOGS_BE,
            ssl_protocol_min=SSLProtocols.tls12,
            **self._settings,
        )
        self._server.listener, self._server.begun = self._listener, self._begun
        await self._server.serve()


class _Embedded(Server):
    """granian's server on a socket that is bound already: its own lets two servers share a port unasked, and tells no port."""

    listener: socket.socket
    begun: "Future[None]"

    def _init_shared_socket(self) -> None:
        inside: Any = self  # granian's notes of types lag behind
        holder_of: Any = _granian.SocketHolder
        inside._shd = holder_of(self.listener.detach(), False, self.backlog)
        inside._sfd, inside._ssp = inside._shd.get_fd(), None
        self.begun.set_result(None)


def _listening(host: str, port: int, limits: Limits) -> socket.socket:
    if not 0 <= port < 1 << 16:
        raise ConfigError(f"cannot listen at port {port}; there are 0 (any that is free) to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"cannot listen at '{host}': {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Connections inherit it: who takes nothing of an answer for so long is cut off by the kernel.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.write_s * 1000))
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen at {host}:{port}: {error.strerror}; is another server there?"
        ) from error
    return listener
