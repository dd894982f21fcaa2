"""The rest of the Open Inference Protocol over gRPC: health, what there is, how it does, loading and letting go.

Knows nothing of tensors.
"""

import asyncio
from typing import Any

from google.protobuf.json_format import ParseDict

from larix.errors import DataError
from larix.serve import oip
from larix.serve.grpc.call import Call, Handler, parsed
from larix.serve.grpc.messages import Message, methods
from larix.serve.refusal import Refusal, Why
from larix.serve.service import ModelStatus, Service, State

SERVICE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
PUBLIC = {"ServerLive", "ServerReady", "Check"}
"""Methods that need no token."""
_WITHOUT_MEANING = {"unload_dependents"}  # no model here depends on another


class Repository:
    """Answers all but ModelInfer by ``service``."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._changing = asyncio.Lock()

    def handlers(self) -> dict[str, dict[str, Handler]]:
        """What it answers, by service and method."""
        own = {
            "ServerLive": lambda _: {"live": self._service.live},
            "ServerReady": lambda _: {"ready": self._service.ready},
            "ServerMetadata": lambda _: oip.server_metadata(),
            "ModelReady": self._ready,
            "ModelMetadata": self._metadata,
            "ModelConfig": self._config,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
        }
        slow = {"RepositoryModelLoad": self._service.load, "RepositoryModelUnload": self._service.unload}
        kinds = methods(SERVICE)
        answers = {name: _told(kinds[name], tell) for name, tell in own.items()}
        answers |= {name: _done(kinds[name], act, self._changing) for name, act in slow.items()}
        return {SERVICE: answers, HEALTH: {"Check": _told(methods(HEALTH)["Check"], self._check)}}

    def _ready(self, asked: Message) -> dict[str, Any]:
        status = self._status(asked.name)
        if not asked.version:
            return {"ready": status.ready}
        states = {each.version: each.state for each in status.versions}
        return {"ready": states.get(asked.version) is State.READY}

    def _metadata(self, asked: Message) -> dict[str, Any]:
        versions = [each.version for each in self._status(asked.name).versions if each.state is State.READY]
        columns = self._service.signature(asked.name, asked.version)
        tasks = self._service.tasks(asked.name, asked.version)
        return oip.model_metadata(asked.name, versions, columns, tasks)

    def _config(self, asked: Message) -> dict[str, Any]:
        columns = self._service.signature(asked.name, asked.version)
        tasks = self._service.tasks(asked.name, asked.version)
        return {"config": oip.model_config(asked.name, columns, tasks)}

    def _statistics(self, asked: Message) -> dict[str, Any]:
        if asked.name:
            self._status(asked.name)
        versions = self._service.stats(asked.name or None).versions
        return oip.model_statistics([each for each in versions if asked.version in ("", each.version)])

    def _index(self, asked: Message) -> dict[str, Any]:
        index = oip.repository_index(self._service.models())
        return {"models": [each for each in index if each["state"] == State.READY or not asked.ready]}

    def _check(self, asked: Message) -> dict[str, Any]:
        if asked.service not in ("", SERVICE):
            raise Refusal(Why.UNKNOWN, f"there is no service '{asked.service:.80}'")
        return {"status": "SERVING" if self._service.ready else "NOT_SERVING"}

    def _status(self, model: str) -> ModelStatus:
        for each in self._service.models():
            if each.name == model:
                return each
        raise Refusal(Why.UNKNOWN, f"there is no model '{model:.80}'")


def _told(kinds: tuple[Any, Any], tell: Any) -> Handler:
    """A method that answers at once."""
    request, response = kinds

    async def handler(call: Call) -> bytes:
        reply: bytes = ParseDict(tell(parsed(request, call.message)), response()).SerializeToString()
        return reply

    return handler


def _done(kinds: tuple[Any, Any], act: Any, changing: asyncio.Lock) -> Handler:
    """A method that does something to a model, one at a time: it may take minutes, and threads that wait are missed by others."""
    request, response = kinds

    async def handler(call: Call) -> bytes:
        asked = parsed(request, call.message)
        if unknown := set(asked.parameters) - _WITHOUT_MEANING:
            raise DataError(f"there is no parameter '{min(unknown):.80}'; a model is loaded as it is")
        if changing.locked():
            text = "another model is being loaded or let go of; come again"
            raise Refusal(Why.OVERLOADED, text, retry_after_s=5.0)
        async with changing:
            await asyncio.to_thread(act, asked.model_name)
        reply: bytes = response().SerializeToString()
        return reply

    return handler
