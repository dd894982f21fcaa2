"""The gRPC server: in a thread of this process, with a loop of its own. Knows nothing of methods.

Needs the extra ``larix[grpc]``.
"""

import asyncio
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from larix.errors import ConfigError
from larix.serve.grpc.limits import GrpcLimits
from larix.serve.reach import check_reach
from larix.serve.service import Service

if TYPE_CHECKING:
    from larix.serve.grpc.listener import Bearer, Instead


class GrpcServer:
    """Serves ``service`` by the Open Inference Protocol at ``host`` and ``port``, 0 for any free one, once it is started.

    ``bearer``: who it is that sends an ``authorization``, None if it opens nothing (see ``http.Tokens.bearer``); without it
    everybody is let in. ``cert``, ``key``: PEM files for TLS. ``instead``: what answers a method instead of ``service``.
    ConfigError if ``host`` is not loopback and TLS or ``bearer`` is
    missing, or if grpcio is.
    """

    def __init__(
        self,
        service: Service,
        *,
        limits: GrpcLimits,
        host: str = "127.0.0.1",
        port: int = 0,
        bearer: "Bearer | None" = None,
        cert: Path | None = None,
        key: Path | None = None,
        instead: "Instead | None" = None,
    ) -> None:
        check_reach(host, guarded=bearer is not None, cert=cert, key=key)
        try:
            from larix.serve.grpc.listener import listen
        except ImportError as error:
            raise ConfigError("gRPC needs grpcio and protobuf; pip install 'larix[grpc]'") from error
        self.host, self.port = host, port
        self._listen = listen
        self._arguments: tuple[Any, ...] = (bearer, None if key is None or cert is None else (key, cert))
        self._arguments += () if instead is None else (instead,)
        self._service, self._limits = service, limits
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._bound: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, name="larix-grpc", daemon=True)

    @property
    def address(self) -> str:
        """Where it is, as ``127.0.0.1:8001``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether calls are taken."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Take calls from now on. ConfigError if it cannot listen there."""
        self._thread.start()
        self.port = self._bound.result()

    def stop(self) -> None:
        """Take no more calls, answer those under way, and end; at the latest after ``GrpcLimits.stop_s``."""
        if self._thread.is_alive() and self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(self._limits.stop_s + 1)

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until it has ended."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._bound.done():
                raise
            self._bound.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server, port = self._listen(self._service, self._limits, self.address, *self._arguments)
        await server.start()
        self._bound.set_result(port)
        await self._stop.wait()
        await server.stop(self._limits.stop_s)
