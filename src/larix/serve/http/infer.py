"""The Open Inference Protocol's `infer` over REST: JSON, binary tensors behind it, or both. Knows nothing of what tensors mean.

Binary tensors lie one behind the other after the JSON, whose length a header tells.
"""

from typing import Annotated, Any

import msgspec
import pyarrow as pa
from msgspec import Meta

from larix.errors import DataError, LarixError
from larix.serve import oip
from larix.serve.columns import parted
from larix.serve.http.asked import now_ms
from larix.serve.http.call import Call, Route, document_of
from larix.serve.http.limits import Limits
from larix.serve.http.reply import BINARY, JSON, Reply
from larix.serve.request import Answer
from larix.serve.service import Service
from larix.serve.waiting import answered

JSON_LENGTH = "inference-header-content-length"
Parameter = bool | int | float | str
Parameters = dict[str, Parameter]
_BINARY_OUTPUTS, _BINARY_OUTPUT, _BINARY_SIZE = "binary_data_output", "binary_data", "binary_data_size"

_WITHOUT_MEANING = {
    "priority"
}  # asked for by clients of other servers; every request here has a deadline instead


class InferInput(msgspec.Struct, kw_only=True):
    """A tensor: ``data``, flat or nested, or the parameter ``binary_data_size``."""

    name: str
    shape: Annotated[list[Annotated[int, Meta(ge=0, le=2**62)]], Meta(max_length=8)]
    datatype: str
    parameters: Parameters = {}
    data: list[Any] | None = None


class InferOutput(msgspec.Struct, kw_only=True):
    """An output that is asked for; the parameter ``binary_data`` says how."""

    name: str
    parameters: Parameters = {}


class InferBody(msgspec.Struct, kw_only=True):
    """What `infer` takes; all outputs if none is named."""

    inputs: list[InferInput]
    id: str = ""
    outputs: list[InferOutput] = []
    parameters: Parameters = {}


class InferredTensor(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A tensor of the answer."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = None
    data: list[Any] | None = None


class Inferred(msgspec.Struct, kw_only=True):
    """What `infer` answers; ``parameters`` tell the state that it is of."""

    id: str
    model_name: str
    model_version: str
    parameters: Parameters
    outputs: list[InferredTensor]


class Inference:
    """Answers `infer` by ``service``."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self._service, self._limits = service, limits
        self._decoder = msgspec.json.Decoder(InferBody)

    def routes(self) -> list[Route]:
        """What it answers."""
        room = self._service.check_room
        return [
            Route(method="POST", path="/v2/models/{}/infer", handler=self.infer, room=room),
            Route(method="POST", path="/v2/models/{}/versions/{}/infer", handler=self.infer, room=room),
        ]

    async def infer(self, call: Call) -> Reply:
        """Score candidates given as tensors."""
        model, version = (*call.names, "")[:2]
        length = _json_length(call, len(call.body))
        asked, read = self._plainly(call.body, length, model, version)
        if asked is None:
            asked = document_of(self._decoder, memoryview(call.body)[:length], self._limits)
        signature, tasks = self._service.signature(model, version), self._service.tasks(model, version)
        wanted = oip.wanted_of(tasks, [output.name for output in asked.outputs])
        binary = _binary(asked, wanted)
        parameters = {
            name: value
            for name, value in asked.parameters.items()
            if name not in _WITHOUT_MEANING and name != _BINARY_OUTPUTS
        }
        request = oip.request_of(
            signature,
            _tensors(asked.inputs, memoryview(call.body)[length:]) if read is None else (),
            read=read,
            id=asked.id or call.id,
            model=model,
            version=version,
            parameters=parameters,
            deadline=call.arrived
            + (self._limits.longest_s if "timeout" in parameters else self._limits.timeout_s),
            most=self._limits.candidates,
        )
        answer = await answered(self._service.rank(request), request.deadline)
        return _reply(answer, oip.outputs_of(answer, wanted), binary)

    def _plainly(
        self, body: bytes, length: int, model: str, version: str
    ) -> tuple[InferBody | None, tuple[pa.RecordBatch, pa.RecordBatch] | None]:
        """The JSON without its tensors, and their columns: of binary tensors that plainly fit nothing is made but those.

        Nothing if anything is wrong with them, or only might be: then each is looked at.
        """
        if length == len(body) or length > self._limits.json_bytes:
            return None, None
        parts = parted(body[:length], ("inputs",))
        if parts is None or (inputs := parts[1][0]) is None:
            return None, None
        try:
            asked = self._decoder.decode(parts[0])
            columns = self._service.signature(model, version)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LarixError):
            return None, None
        most = self._limits.candidates
        read = columns.tensors_in(body, inputs, length, most=most, now_ms=now_ms())
        return (None, None) if read is None else (asked, read)


def _json_length(call: Call, whole: int) -> int:
    told = call.headers.get(JSON_LENGTH)
    if told is None:
        return whole
    if not told.isdecimal() or not told.isascii() or int(told[:20]) > whole:
        raise DataError(f"{JSON_LENGTH} is {told!r:.40}; expected a number up to {whole}, the body's bytes")
    return int(told)


def _tensors(inputs: list[InferInput], rest: memoryview) -> list[oip.Tensor]:
    """Each from its own values or from its part of what follows the JSON, all of which must be used."""
    found, at = [], 0
    for each in inputs:
        size = each.parameters.get(_BINARY_SIZE)
        if size is None:
            if each.data is None:
                raise DataError(f"tensor '{each.name}' has neither data nor the parameter {_BINARY_SIZE}")
            found.append(oip.from_values(each.name, each.datatype, each.shape, each.data))
            continue
        if each.data is not None:
            raise DataError(f"tensor '{each.name}' has data and the parameter {_BINARY_SIZE}; give one")
        if type(size) is not int or not 0 <= size <= len(rest) - at:
            raise DataError(
                f"tensor '{each.name}' says {_BINARY_SIZE} {size!r:.40} but {len(rest) - at} bytes are left of the body"
            )
        found.append(oip.from_raw(each.name, each.datatype, each.shape, rest[at : at + size]))
        at += size
    if at != len(rest):
        raise DataError(f"{len(rest) - at} bytes of the body belong to no tensor")
    return found


def _binary(asked: InferBody, wanted: tuple[str, ...]) -> list[bool]:
    """Whether each output is to be binary: by its own word, else by the request's, else not."""
    every = bool(asked.parameters.get(_BINARY_OUTPUTS, False))
    own = {output.name: output.parameters.get(_BINARY_OUTPUT, every) for output in asked.outputs}
    for output in asked.outputs:
        if unknown := output.parameters.keys() - {_BINARY_OUTPUT}:
            raise DataError(
                f"output '{output.name}' has a parameter '{min(unknown)}', which is not known here"
            )
    return [bool(own.get(name, every)) for name in wanted]


def _reply(answer: Answer, outputs: list[oip.Tensor], binary: list[bool]) -> Reply:
    parts, told = [], []
    for tensor, raw in zip(outputs, binary, strict=True):
        one = InferredTensor(name=tensor.name, datatype=tensor.datatype, shape=list(tensor.shape))
        if raw:
            part = tensor.raw()
            parts.append(part)
            one.parameters = {_BINARY_SIZE: part.nbytes}
        else:
            one.data = tensor.flat()
        told.append(one)
    document = msgspec.json.encode(
        Inferred(
            id=answer.id,
            model_name=answer.stamp.model,
            model_version=answer.stamp.version,
            parameters=oip.parameters_of(answer),
            outputs=told,
        )
    )
    if not parts:
        return Reply(200, document, JSON)
    headers = ((JSON_LENGTH, str(len(document))),)
    return Reply(200, b"".join([document, *parts]), BINARY, headers)
