"""Tensors as a request by a model's signature, and an answer as tensors, the same for REST and gRPC.

A context's column is ``[1]``, lists ``[1, k]``; a candidates' is ``[n]``. Lists are ``[n, k]``, or end to end ``[m]`` beside
``NAME.lengths`` ``[n]``. Knows nothing of sockets or messages.
"""

import math
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.errors import DataError
from larix.features import Task
from larix.serve.oip.tensor import NUMBERS, Tensor
from larix.serve.refusal import Refusal, Why
from larix.serve.request import Answer, Request
from larix.serve.service import Columns

LENGTHS = ".lengths"
VALUE, ORDER = "value", "order"
Parameter = bool | int | float | str
_ARROW = {name: pa.from_numpy_dtype(dtype) for name, dtype in NUMBERS.items()}
_SHORT = 256  # elements of a list that are sooner read than pointed at
_LONGEST = np.iinfo(np.int32).max
_LEAST = {"timeout": 0, "count": 1}
DIVERSITY = "diversity"


def request_of(
    columns: Columns,
    tensors: Iterable[Tensor],
    *,
    read: tuple[pa.RecordBatch, pa.RecordBatch] | None = None,
    id: str = "",
    model: str = "",
    version: str = "",
    parameters: Mapping[str, Parameter] | None = None,
    deadline: float = math.inf,
    most: int = 10_000,
) -> Request:
    """What a client's tensors ask for.

    ``read``: the context and the candidates if they were read already; ``tensors`` are not looked at then. ``id``: made if it
    is "". ``parameters``: ``timeout``, in microseconds from now, 0 for none; ``count``, items on the page; ``diversity``, false
    for a page by value alone. ``deadline``: the transport's own, by ``time.monotonic()``. ``most``: candidates that are allowed.

    DataError if a tensor or a parameter is unknown or does not fit, Refusal (TOO_LARGE) if there are too many candidates.
    """
    given = _parameters(parameters or {})
    if given.get("timeout"):
        deadline = min(deadline, time.monotonic() + given["timeout"] / 1e6)
    if read is None:
        own, theirs = columns_of(columns, tensors, most)
        now_ms = time.time_ns() // 1_000_000
        read = columns.context_of(own, now_ms)[0], columns.candidates_of(theirs)[0]
    context, candidates = read
    return Request(
        id=id or uuid.uuid4().hex,
        candidates=candidates,
        context=context,
        model=model,
        version=version,
        user=columns.user_of(context),
        deadline=deadline,
        count=given.get("count"),
        diversity=bool(given.get(DIVERSITY, True)),
    )


def columns_of(
    columns: Columns, tensors: Iterable[Tensor], most: int
) -> tuple[dict[str, Any], dict[str, pa.Array]]:
    """The context's columns, each one value or an array of one row, and those of at most ``most`` candidates.

    In place, and not yet of the types that they are to have.
    """
    given: dict[str, Tensor] = {}
    for each in tensors:
        if each.name in given:
            raise DataError(f"tensor '{each.name}' is there twice")
        given[each.name] = each
    context: dict[str, Any] = {}
    candidates: dict[str, pa.Array] = {}
    for name, dtype, tensor, lengths in _paired(columns.typed[0], given):
        _check_rows(dtype, tensor, lengths, 1, most)
        value = _value(dtype, tensor, lengths)
        context[name] = _column(dtype, tensor, lengths) if value is None else value
    for name, dtype, tensor, lengths in _paired(columns.typed[1], given):
        _check_rows(dtype, tensor, lengths, None, most)
        candidates[name] = _column(dtype, tensor, lengths)
    if given:
        names = ", ".join([*columns.context.names, *columns.candidates.names])
        raise DataError(f"there is no input '{next(iter(given))}'; the inputs are {names}")
    return context, candidates


def wanted_of(tasks: Sequence[Task], names: Sequence[str]) -> tuple[str, ...]:
    """The outputs that a request asks for by name, all if it names none. DataError if there is no such output."""
    known = output_names(tasks)
    for name in names:
        if name not in known:
            raise DataError(f"there is no output '{name}'; the outputs are {', '.join(known)}")
    return tuple(dict.fromkeys(names)) or known


def output_names(tasks: Sequence[Task]) -> tuple[str, ...]:
    """The outputs: a prediction a task, what each candidate is worth, the page. A task named like the latter two gives way."""
    return tuple(dict.fromkeys((*(task.name for task in tasks), VALUE, ORDER)))


def outputs_of(answer: Answer, wanted: Sequence[str]) -> list[Tensor]:
    """``wanted`` of an answer: FP32 ``[n]`` by task, ``value`` FP32 ``[n]``, ``order`` INT64 ``[k]``."""
    found = []
    for name in wanted:
        if name == ORDER:
            array = np.asarray(answer.order, np.int64)
        else:
            array = np.asarray(answer.value if name == VALUE else answer.predictions[name], np.float32)
        found.append(Tensor.of(name, array))
    return found


def parameters_of(answer: Answer) -> dict[str, Parameter]:
    """Which state an answer is of, and what was missing of its request, as parameters of the response."""
    stamp = answer.stamp
    found: dict[str, Parameter] = {
        "history": stamp.history,
        "rows": stamp.rows,
        "dense": stamp.dense,
        "event_ms": stamp.event_ms,
    }
    return found | {f"missing.{name}": count for name, count in answer.missing.items() if count}


def _parameters(given: Mapping[str, Parameter]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, value in given.items():
        if name == DIVERSITY:
            if type(value) is not bool:
                raise DataError(f"parameter '{name}' is {value!r:.60}; expected true or false")
        elif name in _LEAST:
            if type(value) is str and value.isdecimal() and len(value) < 19:
                value = int(value)  # some clients know strings only
            if type(value) is not int or value < _LEAST[name]:
                raise DataError(
                    f"parameter '{name}' is {value!r:.60}; expected a whole number from {_LEAST[name]} on"
                )
        else:
            raise DataError(f"there is no parameter '{name}'; there are {', '.join(_LEAST)}, {DIVERSITY}")
        found[name] = value
    return found


def _paired(
    typed: Mapping[str, pa.DataType], given: dict[str, Tensor]
) -> Iterator[tuple[str, pa.DataType, Tensor, Tensor | None]]:
    """Each column with its type, its tensor and its lengths, if they are there; takes them out of ``given``."""
    for name, dtype in typed.items():
        tensor = given.pop(name, None)
        lengths = given.pop(name + LENGTHS, None) if dtype.id == pa.lib.Type_LIST else None
        if tensor is not None:
            yield name, dtype, tensor, lengths
        elif lengths is not None:
            raise DataError(f"tensor '{lengths.name}' is there without '{name}'")


def _check_rows(
    dtype: pa.DataType, tensor: Tensor, lengths: Tensor | None, rows: int | None, most: int
) -> None:
    """Before anything is made of it: a shape may tell of more rows than there are bytes."""
    shape, lists = tensor.shape, dtype.id == pa.lib.Type_LIST
    if lengths is not None:
        fits = len(shape) == len(lengths.shape) == 1
        shape = lengths.shape
    elif lists:
        fits = len(shape) == 2
    else:
        fits = len(shape) == 1 or shape[1:] == (1,)  # the latter by clients of models that batch
    if not fits:
        head = "n" if rows is None else rows
        expected = f"[{head}, k], or [m] beside '{tensor.name}{LENGTHS}' [{head}]" if lists else f"[{head}]"
        raise DataError(f"tensor '{tensor.name}' has shape {list(tensor.shape)}; expected {expected}")
    if rows is not None and shape[0] != rows:
        raise DataError(f"tensor '{tensor.name}' has {shape[0]} rows; it is the request's and has {rows}")
    if shape[0] > most:
        raise Refusal(
            Why.TOO_LARGE, f"tensor '{tensor.name}' has {shape[0]} candidates; at most {most} are allowed"
        )


def _value(dtype: pa.DataType, tensor: Tensor, lengths: Tensor | None) -> Any:
    """The one value as Python has it; None for text that is none, and for lists that are long or not of numbers.

    Many arrays of one row take longer than to read so many values of all columns in one go.
    """
    values = tensor.values
    if dtype.id == pa.lib.Type_LIST:
        short = isinstance(values, np.ndarray) and len(values) <= _SHORT
        whole = lengths is None or lengths.values.tolist() == [len(values)]
        return values.tolist() if short and whole else None
    if isinstance(values, np.ndarray):
        return values.item()
    with suppress(UnicodeDecodeError):
        value = values[0].as_py()
        return value.decode() if dtype.id == pa.lib.Type_STRING else value


def _column(dtype: pa.DataType, tensor: Tensor, lengths: Tensor | None) -> pa.Array:
    if dtype.id != pa.lib.Type_LIST:
        return _arrow(dtype, tensor)
    values = _arrow(dtype.value_type, tensor)
    if len(values) > _LONGEST:
        raise Refusal(Why.TOO_LARGE, f"tensor '{tensor.name}' has {len(values)} elements, beyond 32 bits")
    if lengths is None:
        rows, width = tensor.shape
        offsets = (np.arange(rows + 1) * width).astype(np.int32)
    else:
        offsets = _offsets(tensor, lengths, len(values))
    # As they were checked: pyarrow's own way from offsets to lists takes three times as long.
    whole = dtype if values.type == dtype.value_type else pa.list_(values.type)
    return pa.Array.from_buffers(whole, len(offsets) - 1, [None, pa.py_buffer(offsets)], children=[values])


def _offsets(tensor: Tensor, lengths: Tensor, size: int) -> NDArray[np.int32]:
    each = lengths.values
    if not isinstance(each, np.ndarray) or each.dtype.kind not in "iu":
        raise DataError(f"tensor '{lengths.name}' is {lengths.datatype}; expected INT64")
    if len(each) == 1 and each.item() == size:  # a history of the context, of which there may be many
        return np.array([0, size], np.int32)
    if ((each < 0) | (each > size)).any() or int(each.astype(np.int64).sum()) != size:
        raise DataError(f"tensor '{lengths.name}' does not add up to the {size} elements of '{tensor.name}'")
    offsets = np.zeros(len(each) + 1, np.int32)
    np.cumsum(each, dtype=np.int32, out=offsets[1:])
    return offsets


def _arrow(dtype: pa.DataType, tensor: Tensor) -> pa.Array:
    """Elements of a tensor in Arrow: numbers in place, and ``dtype``'s text if it is plain, which needs no look at each."""
    values = tensor.values
    if tensor.datatype == "BYTES":
        _, ends, data = values.buffers()
        if dtype.id != pa.lib.Type_STRING or data is None or not data.to_pybytes().isascii():
            return values
        ends = np.frombuffer(ends, np.int64, len(values) + 1)
        if ends[-1] > _LONGEST:
            return values
        return pa.Array.from_buffers(dtype, len(values), [None, pa.py_buffer(ends.astype(np.int32)), data], 0)
    if tensor.datatype == "BOOL":  # a byte each in numpy, a bit in Arrow
        return pa.array(values)
    return pa.Array.from_buffers(_ARROW[tensor.datatype], len(values), [None, pa.py_buffer(values)], 0)
