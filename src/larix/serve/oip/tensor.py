"""A tensor as the Open Inference Protocol has it: its types and its elements as bytes or values, checked, copied at most once.

Knows nothing of REST, of gRPC or of what a tensor is for.
"""

import itertools
import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.errors import DataError

Raw = bytes | bytearray | memoryview
"""What binary tensors come in."""

NUMBERS: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(np.float32),  # numpy has no such type: widened, exactly
}
"""The protocol's datatypes of numbers and what elements are here; BYTES are the only others."""
_RAW = {  # as the binary form has them, and how many bytes of it an element takes
    name: (dtype, dtype.itemsize)
    for name, dtype in (NUMBERS | {"BOOL": np.dtype(np.uint8), "BF16": np.dtype(np.uint16)}).items()
}
_NAMES = {dtype: name for name, dtype in NUMBERS.items() if name != "BF16"}
_KINDS: dict[str, tuple[type, ...]] = {"b": (bool,), "u": (int,), "i": (int,), "f": (int, float)}
_BYTES = pa.large_binary()
_LENGTH = struct.Struct("<I")  # before each element of BYTES


class Tensor(NamedTuple):
    """``values``: the elements in row-major order, as many as ``shape`` says.

    Numbers are a numpy array ``[m]`` of the type that ``NUMBERS`` has for ``datatype``, BYTES an Arrow array of large binary.
    Made by ``of``, ``from_raw`` and ``from_values``, which check that.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Any

    @classmethod
    def of(cls, name: str, array: NDArray[Any]) -> "Tensor":
        """``array`` of numbers as a tensor, in place where it is contiguous. DataError if the protocol has no such type."""
        datatype = _NAMES.get(array.dtype)
        if datatype is None:
            raise DataError(f"tensor '{name}' is {array.dtype}; there are {', '.join(NUMBERS)}")
        return cls(name, datatype, array.shape, array.reshape(-1))

    def raw(self) -> memoryview:
        """The elements as the protocol's binary form has them: little-endian, or each after its length of 4 bytes."""
        if self.datatype == "BYTES":
            parts = [part for each in self.values.to_pylist() for part in (_LENGTH.pack(len(each)), each)]
            return memoryview(b"".join(parts))
        values = self.values
        if self.datatype == "BF16":
            values = (values.view(np.uint32) >> 16).astype(np.uint16)
        return np.ascontiguousarray(values).view(np.uint8).data

    def flat(self) -> list[Any]:
        """The elements for JSON. DataError if BYTES are not UTF-8."""
        if self.datatype != "BYTES":
            return list(self.values.tolist())
        try:
            return list(self.values.cast(pa.large_string()).to_pylist())
        except pa.ArrowInvalid as error:
            raise DataError(f"tensor '{self.name}' of BYTES is not UTF-8: {error}") from error


def datatype_of(dtype: pa.DataType) -> str:
    """The protocol's datatype for elements of an Arrow type; a list's is that of its values. DataError if there is none."""
    if pa.types.is_list(dtype):
        return datatype_of(dtype.value_type)
    if dtype in (pa.string(), pa.binary(), pa.large_string(), _BYTES):
        return "BYTES"
    try:
        return _NAMES[np.dtype(dtype.to_pandas_dtype())]
    except (NotImplementedError, KeyError, TypeError):
        raise DataError(f"a column of {dtype} cannot be a tensor; there are {', '.join(NUMBERS)}") from None


def from_raw(name: str, datatype: str, shape: Sequence[int], data: Raw) -> Tensor:
    """The tensor that the binary form ``data`` holds. Numbers stay where they are if aligned, and must not be changed then.

    DataError if the bytes are not as many as ``shape`` needs.
    """
    size, view = _size(name, shape), memoryview(data)
    if datatype == "BYTES":
        return Tensor(name, datatype, tuple(shape), _unpacked(name, size, view.cast("B")))
    if datatype not in _RAW:
        raise _unknown(name, datatype)
    dtype, width = _RAW[datatype]
    if view.nbytes != size * width:
        raise DataError(
            f"tensor '{name}' of {datatype} and shape {list(shape)} has {view.nbytes} bytes; expected {size * width}"
        )
    values: NDArray[Any] = np.frombuffer(view, dtype)
    if not values.flags.aligned:  # native code reads it in place
        values = values.copy()
    if datatype == "BOOL":
        values = values != 0
    elif datatype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return Tensor(name, datatype, tuple(shape), values)


def from_values(name: str, datatype: str, shape: Sequence[int], data: Sequence[Any]) -> Tensor:
    """The tensor of values as JSON or a message has them: flat, or lists nested as ``shape`` says.

    DataError if a value is none of ``datatype`` or they are not as many as ``shape`` needs.
    """
    dtype = NUMBERS.get(datatype)
    if dtype is None and datatype != "BYTES":
        raise _unknown(name, datatype)
    size = _size(name, shape)
    if not isinstance(data, Sequence) or isinstance(data, str | bytes):
        raise DataError(f"tensor '{name}' has data {data!r:.60}; expected a list")
    flat: Sequence[Any] = data
    if len(shape) > 1 and data and isinstance(data[0], Sequence) and not isinstance(data[0], str | bytes):
        flat = _flattened(name, data, shape)
    if len(flat) != size:
        raise DataError(f"tensor '{name}' has shape {list(shape)} but {len(flat)} elements")
    kinds = (str, bytes) if dtype is None else _KINDS[dtype.kind]
    if not set(map(type, flat)) <= set(kinds):
        at, wrong = next((at, each) for at, each in enumerate(flat) if type(each) not in kinds)
        raise DataError(f"tensor '{name}' element {at} is {wrong!r:.60}; expected {datatype}")
    try:
        if dtype is None:
            values = pa.array([each.encode() if isinstance(each, str) else each for each in flat], _BYTES)
        else:
            with np.errstate(over="ignore"):  # floats become inf, as by any parser; integers raise
                values = np.array(flat, dtype)
    except (OverflowError, ValueError) as error:  # the latter: text with half a surrogate pair
        raise DataError(f"tensor '{name}' of {datatype}: {error}") from error
    return Tensor(name, datatype, tuple(shape), values)


def _unknown(name: str, datatype: str) -> DataError:
    return DataError(f"tensor '{name}' has datatype '{datatype:.40}'; there are {', '.join(NUMBERS)}, BYTES")


def _size(name: str, shape: Sequence[int]) -> int:
    """The number of elements of ``shape``. DataError naming the tensor if a dimension is negative."""
    if len(shape) == 1 and shape[0] >= 0:
        return shape[0]
    if shape and min(shape) < 0:
        raise DataError(f"tensor '{name}' has shape {list(shape)}; a dimension is at least 0")
    return math.prod(shape)


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
    for _ in range(min(size, end // 4 + 1)):  # the shape may tell of more than there are
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
