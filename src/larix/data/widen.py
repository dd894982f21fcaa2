"""Types of columns that can become one another without loss. Knows nothing of files."""

import numpy as np
import pyarrow as pa


def wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The narrowest type that holds both, or None.

    Null widens to anything, a whole number to a double or (int64) to uint64, float to double, text to
    binary, a value to a list of one. Whether the values at hand fit is told by `widened`.
    """
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_list(one) or pa.types.is_list(other):
        element = wider(*(kind.value_type if pa.types.is_list(kind) else kind for kind in (one, other)))
        return None if element is None or pa.types.is_struct(element) else pa.list_(element)
    kinds = {one, other}
    if kinds <= {pa.int64(), pa.uint64()}:
        return pa.uint64()
    if kinds <= {pa.int64(), pa.uint64(), pa.float32(), pa.float64()}:
        return pa.float64()
    if kinds <= {pa.string(), pa.binary()}:
        return pa.binary()
    return None


def widened(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """``column`` as ``kind``, a type that `wider` gave for it.

    Raises:
        pyarrow.ArrowInvalid: a value does not fit exactly: a whole number no double holds, a negative one
        in uint64.
    """
    if column.type == kind:
        return column
    if pa.types.is_list(kind) and not pa.types.is_list(column.type) and not pa.types.is_null(column.type):
        return pa.chunked_array([_ones(chunk, kind) for chunk in column.chunks], kind)
    return column.cast(kind)


def _ones(values: pa.Array, kind: pa.ListType) -> pa.ListArray:
    missing = values.is_null().to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(~missing)])
    present = values.drop_null().cast(kind.value_type)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), present, mask=pa.array(missing)).cast(kind)
