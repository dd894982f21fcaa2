"""A signature with a column of each type, the request's and the candidates', and tensors for it."""

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from larix.serve import oip
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


def elements(draw, dtype, size):
    """So many values of a type, as the protocol's binary form has them, and its name for the type."""
    if dtype in (pa.string(), pa.binary()):
        kind = st.text(st.characters(exclude_categories=["Cs"]), max_size=3).map(str.encode)
        values = draw(
            st.lists(kind if dtype == pa.string() else st.binary(max_size=3), min_size=size, max_size=size)
        )
        return "BYTES", oip.from_values("", "BYTES", (size,), values).raw().tobytes()
    array = np.frombuffer(draw(st.binary(min_size=8 * size, max_size=8 * size)), np.uint8)
    array = (
        array.view(np.dtype(dtype.to_pandas_dtype()))[:size] if dtype != pa.bool_() else array[:size] % 2 == 1
    )
    made = oip.Tensor.of("", array)
    return made.datatype, made.raw().tobytes()


@st.composite
def given_tensors(draw, most, noise):
    """Tensors of up to ``most`` candidates: name, datatype, bytes and shape. With ``noise`` something of it may not fit."""
    rows = draw(st.integers(0, most + noise))
    tensors = []
    mine, theirs = (draw(st.sets(st.sampled_from(list(TYPES)))) for _ in range(2))
    columns = [("user_id", pa.int64(), 1), *((f"my_{name}", TYPES[name], 1) for name in mine)]
    columns += [("id", pa.int64(), rows), *((name, TYPES[name], rows) for name in theirs)]
    for name, dtype, size in draw(st.permutations(columns)):
        if not pa.types.is_list(dtype):
            shape = draw(st.sampled_from([[size], [size, 1]]))
            tensors.append((name, *elements(draw, dtype, size), shape))
        elif draw(st.booleans()):
            width = draw(st.integers(0, 2))
            tensors.append((name, *elements(draw, dtype.value_type, size * width), [size, width]))
        else:
            lengths = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
            tensors.append((name, *elements(draw, dtype.value_type, sum(lengths)), [sum(lengths)]))
            tensors.append((f"{name}.lengths", "INT64", np.array(lengths, np.int64).tobytes(), [size]))
    if noise:
        at = draw(st.integers(0, len(tensors) - 1))
        name, datatype, raw, shape = tensors[at]
        tensors[at] = draw(
            st.sampled_from(
                [
                    (name, datatype, raw[:-1], shape),
                    (name, datatype, raw + b"\xff", shape),
                    (name, "INT32", raw, shape),
                    (name, "FP16", raw, shape),
                    (name, datatype, raw, [*shape, 1]),
                    (name, datatype, raw, [2**40, 0]),
                    (name, datatype, b"\x02" * len(raw), shape),
                    (f"{name}.lengths", datatype, raw, shape),
                    ("unknown", datatype, raw, shape),
                    tensors[0],
                ]
            )
        )
    return tensors


def assert_same(mine, theirs):
    """Contexts and candidates are the same to the last bit, but for now."""
    for one, other in zip(mine, theirs, strict=True):
        one.validate(full=True)
        if "at" in one.schema.names:  # now, of two moments
            one, other = one.drop_columns("at"), other.drop_columns("at")
        assert one.schema == other.schema
        assert repr(one.to_pylist()) == repr(other.to_pylist())
