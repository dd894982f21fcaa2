"""The Open Inference Protocol over REST, except `infer`: health, what there is, how it does, loading and letting go.

Knows nothing of tensors.
"""

import asyncio
from collections.abc import Callable

from larix.serve import oip
from larix.serve.http.call import Call, Route
from larix.serve.http.reply import Reply, reply_of
from larix.serve.refusal import Refusal, Why
from larix.serve.service import ModelStatus, Service, State

NO = 400  # the protocol's word for "not live" and "not ready"


class Repository:
    """Answers `/v2` by ``service``."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._changing = asyncio.Lock()

    def routes(self) -> list[Route]:
        """What it answers."""
        reads = {
            "/v2": self.server,
            "/v2/models/stats": self.statistics,
        }
        of_models = {
            "": self.metadata,
            "/ready": self.ready,
            "/config": self.config,
            "/stats": self.statistics,
        }
        for path, handler in of_models.items():
            reads["/v2/models/{}" + path] = handler
            reads["/v2/models/{}/versions/{}" + path] = handler
        return [
            Route(method="GET", path="/v2/health/live", handler=self.health_live, public=True),
            Route(method="GET", path="/v2/health/ready", handler=self.health_ready, public=True),
            *(Route(method="GET", path=path, handler=handler) for path, handler in reads.items()),
            Route(method="POST", path="/v2/repository/index", handler=self.index),
            Route(method="POST", path="/v2/repository/models/{}/load", handler=self.load),
            Route(method="POST", path="/v2/repository/models/{}/unload", handler=self.unload),
        ]

    async def health_live(self, call: Call) -> Reply:
        """Whether the process can answer at all."""
        return _whether(self._service.live, "live")

    async def health_ready(self, call: Call) -> Reply:
        """Whether requests are answered now."""
        return _whether(self._service.ready, "ready")

    async def server(self, call: Call) -> Reply:
        """Who serves."""
        return reply_of(oip.server_metadata())

    async def metadata(self, call: Call) -> Reply:
        """A model's inputs and outputs."""
        model, version = _named(call)
        versions = [each.version for each in self._status(model).versions if each.state is State.READY]
        signature, tasks = self._service.signature(model, version), self._service.tasks(model, version)
        return reply_of(oip.model_metadata(model, versions, signature, tasks))

    async def ready(self, call: Call) -> Reply:
        """Whether a model, or one version of it, answers now."""
        model, version = _named(call)
        status = self._status(model)
        if not version:
            return _whether(status.ready, "ready")
        return _whether(
            any(each.version == version and each.state is State.READY for each in status.versions), "ready"
        )

    async def config(self, call: Call) -> Reply:
        """A model's configuration."""
        model, version = _named(call)
        return reply_of(
            oip.model_config(
                model, self._service.signature(model, version), self._service.tasks(model, version)
            )
        )

    async def statistics(self, call: Call) -> Reply:
        """What was counted, by version."""
        model, version = _named(call)
        if model:
            self._status(model)
        stats = self._service.stats(model or None)
        return reply_of(
            oip.model_statistics([each for each in stats.versions if version in ("", each.version)])
        )

    async def index(self, call: Call) -> Reply:
        """All models and versions with their states."""
        return reply_of(oip.repository_index(self._service.models()))

    async def load(self, call: Call) -> Reply:
        """Load a model's newest version; answered when it is ready."""
        return await self._change(self._service.load, call.names[0])

    async def unload(self, call: Call) -> Reply:
        """Let a model go."""
        return await self._change(self._service.unload, call.names[0])

    async def _change(self, change: Callable[[str], None], model: str) -> Reply:
        """One at a time: it may take minutes, and threads that wait are missed by others."""
        if self._changing.locked():
            text = "another model is being loaded or let go of; come again"
            raise Refusal(Why.OVERLOADED, text, retry_after_s=5.0)
        async with self._changing:
            await asyncio.to_thread(change, model)
        return reply_of({})

    def _status(self, model: str) -> ModelStatus:
        for each in self._service.models():
            if each.name == model:
                return each
        raise Refusal(Why.UNKNOWN, f"there is no model '{model:.80}'")


def _named(call: Call) -> tuple[str, str]:
    model, version = (*call.names, "", "")[:2]
    return model, version


def _whether(yes: bool, what: str) -> Reply:
    return reply_of({what: yes}, 200 if yes else NO)
