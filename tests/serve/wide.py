"""A signature with a column of each type, the request's and the candidates'."""

import pyarrow as pa

from larix.serve.signature import Signature

TYPES = {
    "flag": pa.bool_(),
    "byte": pa.int8(),
    "short": pa.uint16(),
    "int": pa.int64(),
    "large": pa.uint64(),
    "single": pa.float32(),
    "double": pa.float64(),
    "text": pa.string(),
    "raw": pa.binary(),
    "ints": pa.list_(pa.int32()),
    "reals": pa.list_(pa.float32()),
    "texts": pa.list_(pa.string()),
    "città": pa.int16(),
}
WIDE = Signature(
    context=pa.schema({"user_id": pa.int64(), "at": pa.int64(), **{f"my_{name}": each for name, each in TYPES.items()}}),
    candidates=pa.schema({"id": pa.int64(), **TYPES}),
    item="id",
    user="user_id",
    time="at",
    optional=frozenset({*TYPES, *(f"my_{name}" for name in TYPES)}),
)  # fmt: skip
