"""A tensor as the Open Inference Protocol has it: its types and its elements as bytes or values, checked, copied at most once.

Knows nothing of REST, of gRPC or of what a tensor is for.
"""

import itertools
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.errors import DataError

Raw = bytes | bytearray | memoryview
"""What binary tensors come in."""

_NUMBERS: dict[str, pa.DataType] = {
    "BOOL": pa.bool_(),
    "UINT8": pa.uint8(),
    "UINT16": pa.uint16(),
    "UINT32": pa.uint32(),
    "UINT64": pa.uint64(),
    "INT8": pa.int8(),
    "INT16": pa.int16(),
    "INT32": pa.int32(),
    "INT64": pa.int64(),
    "FP16": pa.float16(),
    "FP32": pa.float32(),
    "FP64": pa.float64(),
    "BF16": pa.float32(),  # Arrow has no such type: widened, exactly
}
_BYTES = pa.large_binary()
TYPES = {**_NUMBERS, "BYTES": _BYTES}
"""The protocol's datatypes and the Arrow type of their elements here."""
_NAMES = {dtype: name for name, dtype in TYPES.items() if name != "BF16"} | {
    pa.string(): "BYTES",
    pa.binary(): "BYTES",
}
_KINDS: dict[str, tuple[type, ...]] = {
    "B": (bool,),
    "U": (int,),
    "I": (int,),
    "F": (int, float),
}  # by first letter
_WIDTHS = {"BOOL": 1, "BF16": 2}
_LENGTH = struct.Struct("<I")  # before each element of BYTES


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """``values``: the elements in row-major order, of the Arrow type that ``TYPES`` has for ``datatype``, none of them null.

    As many as ``shape`` says; DataError if not.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: pa.Array

    def __post_init__(self) -> None:
        if self.values.type != type_of(self.name, self.datatype):
            raise DataError(
                f"tensor '{self.name}' is {self.datatype} but its elements are {self.values.type}"
            )
        if len(self.values) != size_of(self.name, self.shape):
            raise DataError(
                f"tensor '{self.name}' has shape {list(self.shape)} but {len(self.values)} elements"
            )
        if self.values.null_count:
            raise DataError(f"tensor '{self.name}' holds a null; the protocol has none: leave the column out")

    @classmethod
    def of(cls, name: str, array: NDArray[Any]) -> "Tensor":
        """``array`` of numbers as a tensor, in place where it is contiguous."""
        values = pa.array(array.reshape(-1))
        return cls(name, datatype_of(values.type), array.shape, values)

    def raw(self) -> memoryview:
        """The elements as the protocol's binary form has them: little-endian, or each after its length of 4 bytes."""
        if self.datatype == "BYTES":
            parts = [part for each in self.values.to_pylist() for part in (_LENGTH.pack(len(each)), each)]
            return memoryview(b"".join(parts))
        if self.datatype == "BF16":
            words = self.values.to_numpy().view(np.uint32) >> 16
            return memoryview(words.astype(np.uint16)).cast("B")
        return np.ascontiguousarray(self.values.to_numpy(zero_copy_only=False)).view(np.uint8).data

    def flat(self) -> list[Any]:
        """The elements for JSON. DataError if BYTES are not UTF-8."""
        if self.datatype == "BYTES":
            try:
                return list(self.values.cast(pa.large_string()).to_pylist())
            except pa.ArrowInvalid as error:
                raise DataError(f"tensor '{self.name}' of BYTES is not UTF-8: {error}") from error
        return list(self.values.to_numpy(zero_copy_only=False).tolist())


def type_of(name: str, datatype: str) -> pa.DataType:
    """The Arrow type of the elements of ``datatype``. DataError naming the tensor if the protocol has none of that name."""
    found = TYPES.get(datatype)
    if found is None:
        raise DataError(f"tensor '{name}' has datatype '{datatype}'; there are {', '.join(TYPES)}")
    return found


def datatype_of(dtype: pa.DataType) -> str:
    """The protocol's datatype for elements of an Arrow type; a list's is that of its values. DataError if there is none."""
    if pa.types.is_list(dtype):
        return datatype_of(dtype.value_type)
    found = _NAMES.get(dtype)
    if found is None:
        raise DataError(f"a column of {dtype} cannot be a tensor; the protocol has {', '.join(TYPES)}")
    return found


def size_of(name: str, shape: Sequence[int]) -> int:
    """The number of elements of ``shape``. DataError naming the tensor if a dimension is negative."""
    if any(each < 0 for each in shape):
        raise DataError(f"tensor '{name}' has shape {list(shape)}; a dimension is at least 0")
    return math.prod(shape)


def from_raw(name: str, datatype: str, shape: Sequence[int], data: Raw) -> Tensor:
    """The tensor that the binary form ``data`` holds. Numbers stay where they are if aligned, and must not be changed then.

    DataError if the bytes are not as many as ``shape`` needs.
    """
    dtype = type_of(name, datatype)
    size = size_of(name, shape)
    view = memoryview(data).cast("B")
    if datatype == "BYTES":
        return Tensor(name, datatype, tuple(shape), _unpacked(name, size, view))
    width = _WIDTHS.get(datatype) or dtype.byte_width
    if len(view) != size * width:
        raise DataError(
            f"tensor '{name}' of {datatype} and shape {list(shape)} has {len(view)} bytes; "
            f"expected {size * width}"
        )
    if datatype == "BOOL":
        values = pa.array(np.frombuffer(view, np.uint8) != 0)
    elif datatype == "BF16":
        words = np.frombuffer(view, np.uint8).reshape(-1, 2)
        wide = np.zeros((size, 4), np.uint8)
        wide[:, 2:] = words
        values = pa.array(wide.view(np.float32).reshape(-1))
    else:
        buffer = pa.py_buffer(view)
        if buffer.address % width:  # native code reads it in place
            buffer = pa.py_buffer(bytes(view))
        values = pa.Array.from_buffers(dtype, size, [None, buffer])
    return Tensor(name, datatype, tuple(shape), values)


def from_values(name: str, datatype: str, shape: Sequence[int], data: Sequence[Any]) -> Tensor:
    """The tensor of values as JSON or a message has them: flat, or lists nested as ``shape`` says.

    DataError if a value is none of ``datatype`` or they are not as many as ``shape`` needs.
    """
    dtype = type_of(name, datatype)
    size = size_of(name, shape)
    if not isinstance(data, Sequence) or isinstance(data, str | bytes):
        raise DataError(f"tensor '{name}' has data {data!r:.60}; expected a list")
    flat: Sequence[Any] = data
    if len(shape) > 1 and data and isinstance(data[0], Sequence) and not isinstance(data[0], str | bytes):
        flat = _flattened(name, data, shape)
    if len(flat) != size:
        raise DataError(f"tensor '{name}' has shape {list(shape)} but {len(flat)} elements")
    kinds = (
        (str, bytes) if datatype == "BYTES" else (int, float) if datatype == "BF16" else _KINDS[datatype[0]]
    )
    for at, each in enumerate(flat):
        if type(each) not in kinds:
            raise DataError(f"tensor '{name}' element {at} is {each!r:.60}; expected {datatype}")
    try:
        if datatype == "BYTES":
            values = pa.array([e.encode() if isinstance(e, str) else e for e in flat], dtype)
        elif datatype[0] in "FB":  # numbers are rounded, as by any parser
            values = pa.array(np.array(flat, dtype.to_pandas_dtype()))
        else:
            values = pa.array(flat, dtype)
    except (pa.ArrowException, OverflowError, ValueError) as error:
        raise DataError(f"tensor '{name}' of {datatype}: {error}") from error
    return Tensor(name, datatype, tuple(shape), values)


def _flattened(name: str, data: Sequence[Any], shape: Sequence[int]) -> Sequence[Any]:
    level: Sequence[Any] = [data]
    for depth, size in enumerate(shape):
        for each in level:
            if not isinstance(each, list | tuple) or len(each) != size:
                raise DataError(
                    f"tensor '{name}' has shape {list(shape)} but its lists are not of {size} at depth {depth}"
                )
        level = list(itertools.chain.from_iterable(level))
    return level


def _unpacked(name: str, size: int, view: memoryview) -> pa.Array:
    """Elements of BYTES without their lengths: one copy of their bytes."""
    parts: list[memoryview] = []
    lengths: list[int] = []
    at, end = 0, len(view)
    for _ in range(min(size, end // 4 + 1)):
        if at + 4 > end:
            break
        (length,) = _LENGTH.unpack_from(view, at)
        at += 4
        if at + length > end:
            raise DataError(
                f"tensor '{name}' element {len(parts)} is cut off: {length} bytes told, {end - at} left"
            )
        parts.append(view[at : at + length])
        lengths.append(length)
        at += length
    if len(parts) != size or at != end:
        raise DataError(
            f"tensor '{name}' of BYTES holds {len(parts)} elements and {end - at} bytes more, not {size}"
        )
    offsets = np.zeros(size + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return pa.Array.from_buffers(_BYTES, size, [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(parts))])
