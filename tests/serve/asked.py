"""A small model's signature, its tasks, an answer of it and tensors that ask for one, for tests of protocols."""

import numpy as np
import pyarrow as pa

from larix.features import Binary, Seconds
from larix.serve import Answer, Stamp
from larix.serve.signature import Signature

LISTS = pa.list_(pa.int64())
SIGNATURE = Signature(
    context=pa.schema({"user_id": pa.int64(), "time_ms": pa.int64(), "city": pa.string(), "past": LISTS}),
    candidates=pa.schema({"video_id": pa.int64(), "rate": pa.float32(), "new": pa.bool_(), "tag": LISTS, "kind": pa.binary()}),
    item="video_id",
    user="user_id",
    time="time_ms",
    optional=frozenset({"city", "past", "rate", "new", "tag", "kind"}),
)  # fmt: skip
TASKS = (Binary("is_click"), Seconds("play_time_ms", name="play"))
ANSWER = Answer(
    id="a",
    stamp=Stamp(model="feed", version="7", history="line", rows=30, dense=20, event_ms=99),
    order=np.array([2, 0]),
    value=np.array([0.5, 0.25, 0.75]),
    predictions={
        "is_click": np.array([0.5, 0.25, 0.75], np.float32),
        "play": np.array([1, 2, 3], np.float32),
    },
    missing={"tag": 2, "city": 0},
)
