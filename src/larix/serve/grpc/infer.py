"""The Open Inference Protocol's ModelInfer over gRPC. Knows where a message has its tensors; nothing of what they mean.

Raw contents that plainly fit become columns natively; where not, each tensor is looked at, which tells what is wrong.
"""

import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from larix.errors import DataError, LarixError
from larix.serve import oip
from larix.serve.columns import message_rest
from larix.serve.grpc import wire
from larix.serve.grpc.call import Call, parsed
from larix.serve.grpc.limits import GrpcLimits
from larix.serve.grpc.messages import Message, message
from larix.serve.request import Answer
from larix.serve.service import Service
from larix.serve.waiting import answered

_RAW_INPUTS, _RAW_OUTPUTS = 7, 6  # numbers of the fields in request and response
_WITHOUT_MEANING = {
    "priority"
}  # asked for by clients of other servers; every request here has a deadline instead
_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class Inference:
    """Answers ModelInfer by ``service``."""

    def __init__(self, service: Service, limits: GrpcLimits) -> None:
        self._service, self._limits = service, limits
        self._request, self._response = (
            message("inference.ModelInferRequest"),
            message("inference.ModelInferResponse"),
        )

    async def infer(self, call: Call) -> bytes:
        """Score candidates given as tensors; tensors of the answer are raw."""
        raws: list[memoryview] = []
        asked, read = self._plainly(call.message)
        if read is None:
            head, raws = wire.split(call.message, _RAW_INPUTS)
            asked = parsed(self._request, head)
        call.id = asked.id or call.id
        model, version = asked.model_name, asked.model_version
        columns, tasks = self._service.signature(model, version), self._service.tasks(model, version)
        wanted = oip.wanted_of(tasks, [_plain(output, "output").name for output in asked.outputs])
        parameters = _parameters(asked.parameters)
        request = oip.request_of(
            columns,
            _tensors(asked, raws) if read is None else (),
            read=read,
            id=call.id,
            model=model,
            version=version,
            parameters=parameters,
            deadline=call.due("timeout" in parameters, self._limits),
            most=self._limits.candidates,
        )
        answer = await answered(self._service.rank(request), request.deadline)
        return self._reply(answer, wanted)

    def _plainly(self, data: bytes) -> tuple[Message, tuple[pa.RecordBatch, pa.RecordBatch] | None]:
        """The message without its tensors, and their columns; of both nothing if anything is wrong, or only might be."""
        if (rest := message_rest(data, wire.MOST)) is None:
            return None, None
        try:
            asked = parsed(self._request, rest)
            columns = self._service.signature(asked.model_name, asked.model_version)
        except LarixError:
            return None, None
        now_ms = time.time_ns() // 1_000_000
        return asked, columns.message_in(data, most=self._limits.candidates, now_ms=now_ms)

    def _reply(self, answer: Answer, wanted: tuple[str, ...]) -> bytes:
        reply = self._response(
            model_name=answer.stamp.model, model_version=answer.stamp.version, id=answer.id
        )
        for name, value in oip.parameters_of(answer).items():
            if isinstance(value, str):
                reply.parameters[name].string_param = value
            else:
                reply.parameters[name].int64_param = int(value)
        raws = []
        for tensor in oip.outputs_of(answer, wanted):
            reply.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            raws.append(tensor.raw())
        return wire.joined(reply.SerializeToString(), _RAW_OUTPUTS, raws)


def _tensors(asked: Message, raws: list[memoryview]) -> list[oip.Tensor]:
    """All from the raw contents or each from its own; the protocol forbids to mix them."""
    if not raws:
        return [_typed(_plain(each, "input")) for each in asked.inputs]
    if len(raws) != len(asked.inputs):
        raise DataError(
            f"there are {len(asked.inputs)} inputs but {len(raws)} raw_input_contents; give one each"
        )
    found = []
    for each, raw in zip(asked.inputs, raws, strict=True):
        if each.HasField("contents"):
            raise DataError(
                f"tensor '{each.name}' has contents and there are raw_input_contents; give one of them"
            )
        found.append(oip.from_raw(_plain(each, "input").name, each.datatype, tuple(each.shape), raw))
    return found


def _typed(given: Message) -> oip.Tensor:
    field = _FIELDS.get(given.datatype)
    filled = {each.name for each, _ in given.contents.ListFields()}
    if field is None and given.datatype in ("FP16", "BF16"):
        raise DataError(f"tensor '{given.name}' is {given.datatype}, which comes in raw_input_contents only")
    if filled - {field} and field is not None:
        raise DataError(f"tensor '{given.name}' of {given.datatype} has {min(filled)}; expected {field}")
    values = [] if field is None else list(getattr(given.contents, field))
    return oip.from_values(given.name, given.datatype, tuple(given.shape), values)


def _plain(given: Message, what: str) -> Message:
    """An input or output without parameters: the protocol's own (shared memory, classification) are not known here."""
    if given.parameters:
        name = min(given.parameters)
        raise DataError(f"{what} '{given.name}' has a parameter '{name:.80}', which is not known here")
    return given


def _parameters(given: Mapping[str, Any]) -> dict[str, oip.Parameter]:
    found: dict[str, oip.Parameter] = {}
    for name, parameter in given.items():
        if name not in _WITHOUT_MEANING:
            kind = parameter.WhichOneof("parameter_choice")
            if kind is None:
                raise DataError(f"parameter '{name:.80}' has no value")
            found[name] = getattr(parameter, kind)
    return found
