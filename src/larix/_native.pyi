# What the compiled core offers; its doors, embedding/table.py, embedding/replica.py, features/kernels.py,
# feed/kernels.py and serve/columns.py, check arguments.
import enum
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# ---- embedding

_Ids = NDArray[np.int64]
_Floats = NDArray[np.float32]
_Handles = NDArray[np.uint64]
_UInts = NDArray[np.uint32]
_Times = tuple[int, int, int]  # sequence, steps, clock
_Jagged = tuple[_Ids, _Ids | None, _Floats | None]
_Admission = tuple[int, int, int, int, int]
_Policy = tuple[int, int, float, float, float, float, list[float]]

class Plan:
    def __init__(
        self, slots: Sequence[tuple[int, int, int, int]], outputs: Sequence[tuple[int, int, bool]]
    ) -> None: ...

def place(buffer: NDArray[Any], half: bool, values: _Floats, column: int, /) -> None: ...

class Precision(enum.Enum):
    fp32 = 0
    bf16 = 1
    fp16 = 2

class Rule(enum.Enum):
    sgd = 0
    momentum = 1
    adagrad = 2
    row_adagrad = 3
    adam = 4
    adamw = 5
    ftrl = 6
    lamb = 7

class Decay(enum.Enum):
    none = 0
    cosine = 1
    inverse_sqrt = 2
    step = 3

class Schedule:
    def __init__(self, warmup: int, decay: Decay, steps: int, number: float) -> None: ...

class Optimizer:
    lr: float
    eps: float
    beta1: float
    beta2: float
    momentum: float
    nesterov: bool
    beta: float
    l1: float
    l2: float
    initial: float
    weight_decay: float
    clip_grad: float
    max_norm: float
    def __init__(self, rule: Rule, schedule: Schedule) -> None: ...

class Store:
    def __init__(
        self,
        groups: Sequence[tuple[int, Precision, Optimizer]],
        tables: Sequence[tuple[int, int, int, float, float, _Admission, _Policy]],
        threads: int,
        budget: int,
        background: bool,
    ) -> None: ...
    def gather(
        self,
        plan: Plan,
        jaggeds: list[_Jagged],
        outs: list[NDArray[Any]],
        samples: int,
        handles: _Handles,
        insert: bool,
        /,
    ) -> int: ...
    def apply(
        self,
        plan: Plan,
        jaggeds: list[_Jagged],
        grads: list[NDArray[Any]],
        samples: int,
        handles: _Handles,
        lr_scale: float,
        clicks: _Floats | None,
        /,
    ) -> None: ...
    def lookup(self, table: int, ids: _Ids, out: _Floats, insert: bool, /) -> int: ...
    def update(
        self, table: int, ids: _Ids, grads: _Floats, lr_scale: float, clicks: _Floats | None, /
    ) -> None: ...
    def rows(self, table: int, /) -> int: ...
    def steps(self) -> int: ...
    def set_steps(self, steps: int, /) -> None: ...
    def keys(self, table: int, /) -> _Ids: ...
    def read(self, table: int, ids: _Ids, weights: _Floats, state: _Floats, /) -> None: ...
    def put(
        self,
        table: int,
        ids: _Ids,
        weights: _Floats,
        state: _Floats,
        seen: _UInts | None,
        score: _Floats | None,
        /,
    ) -> int: ...
    def remove(self, table: int, ids: _Ids, /) -> int: ...
    def borrow(self, team: int, /) -> None: ...
    def clock(self) -> int: ...
    def set_clock(self, now: int, /) -> None: ...
    @staticmethod
    def least_bytes(groups: int, budget: int, /) -> int: ...
    def counts(self) -> tuple[int, int, int, int, int, int, int, int]: ...
    def open_tier(self, folder: str, /) -> None: ...
    def spill(self, table: int, ids: _Ids, /) -> int: ...
    def cold_counts(self) -> tuple[int, int, int, int, int, int, int, int, int, str]: ...
    def snapshot(self, memory: int, piece: int, folder: str, /) -> Snapshot: ...
    def changes(
        self, since: int, /
    ) -> tuple[_Times, list[tuple[_Ids, _Floats, _Floats, _UInts, _Floats, _Ids]]] | None: ...
    def cut(self) -> int: ...
    def forget(self, upto: int, /) -> bool: ...
    def resume(self, sequence: int, steps: int, clock: int, tracked: bool, /) -> bool: ...
    def times(self) -> tuple[int, int, bool, int, int]: ...

class Snapshot:
    def next(self) -> tuple[int, _Ids, _Floats, _Floats, _UInts, _Floats] | None: ...
    def close(self) -> None: ...
    def instant(self) -> _Times: ...
    def bytes(self) -> tuple[int, int]: ...

class Replica:
    def __init__(
        self,
        format: int,
        tables: Sequence[tuple[int, float]],
        threads: int,
        levels: tuple[str, int, bool] | None,
    ) -> None: ...
    def gather(
        self, plan: Plan, jaggeds: list[_Jagged], outs: list[_Floats], samples: int, missing: _Ids, /
    ) -> int: ...
    def lookup(self, table: int, ids: _Ids, out: _Floats, /) -> None: ...
    def version(self) -> int: ...
    def put(self, table: int, ids: _Ids, weights: _Floats, heat: NDArray[np.uint16] | None, /) -> None: ...
    def remove(self, table: int, ids: _Ids, /) -> int: ...
    def clear(self) -> None: ...
    def adapt(self, most: int, /) -> int: ...
    def publish(self) -> None: ...
    def abandon(self) -> None: ...
    def freeze(self, stamp: bytes, between: Callable[[], object], /) -> int: ...
    def adopt(self, descriptor: int, stamp: bytes, /) -> int: ...
    def rows(self, table: int, /) -> int: ...
    def keys(self, table: int, /) -> _Ids: ...
    def counts(self) -> tuple[int, int, int, int, int, int, int, int, int, int, int]: ...

class Reading:
    def __init__(self, replica: Replica, /) -> None: ...
    def version(self) -> int: ...
    def gather(
        self, plan: Plan, jaggeds: list[_Jagged], outs: list[_Floats], samples: int, missing: _Ids, /
    ) -> int: ...
    def gather_parts(
        self, plan: Plan, jaggeds: list[_Jagged], outs: list[_Floats], ends: _Ids, missing: _Ids, /
    ) -> int: ...
    def gather_packed(
        self,
        plan: Plan,
        ids: _Ids,
        found: _Ids,
        offsets: _Ids,
        outs: list[_Floats],
        ends: _Ids,
        missing: _Ids,
        /,
    ) -> int: ...
    def lookup(self, table: int, ids: _Ids, out: _Floats, /) -> None: ...
    def heat(self, table: int, ids: _Ids, out: NDArray[np.uint16], /) -> None: ...
    def end(self) -> None: ...

# ---- features

_Numbers = NDArray[np.float64]
_Offsets = NDArray[np.int64] | None

class Kind(enum.Enum):
    boolean = 0
    i8 = 1
    u8 = 2
    i16 = 3
    u16 = 4
    i32 = 5
    u32 = 6
    i64 = 7
    u64 = 8
    f32 = 9
    f64 = 10
    text32 = 11
    text64 = 12

class Fill(enum.Enum):
    value = 0
    mean = 1
    refuse = 2

class Part(enum.Enum):
    hour = 0
    weekday = 1

class Column:
    def __init__(
        self, kind: Kind, data: int, offsets: int, validity: int, offset: int, length: int, size: int, /
    ) -> None: ...

class Lists:
    def __init__(
        self, width: int, offsets: int, fixed: int, validity: int, offset: int, rows: int, length: int, /
    ) -> None: ...

def newest_ranges(lists: Lists, newest: int, starts: _Ids, offsets: _Ids, /) -> int: ...
def first_mismatch(a: Lists, b: Lists, /) -> int: ...
def read_known(column: Column, starts: _Offsets, offsets: _Offsets, out: NDArray[np.uint8]) -> int: ...
def read_numbers(column: Column, starts: _Offsets, offsets: _Offsets, out: _Numbers) -> None: ...
def read_times(
    column: Column, starts: _Offsets, offsets: _Offsets, mul: int, div: int, out: _Ids
) -> None: ...

class Reads:
    def __init__(self) -> None: ...
    def ids(self, column: Column, starts: _Offsets, offsets: _Offsets, out: _Ids) -> None: ...
    def dense(
        self,
        column: Column,
        starts: _Offsets,
        offsets: _Offsets,
        low: float,
        high: float,
        log: bool,
        mean: float,
        std: float,
        fill: Fill,
        fill_value: float,
        out: _Floats,
        index: int,
    ) -> None: ...
    def buckets(self, column: Column, edges: _Numbers, out: _Ids, /) -> None: ...
    def cross(self, left: Column, right: Column, out: _Ids, /) -> None: ...
    def time_parts(
        self, column: Column, mul: int, div: int, part: Part, shift_ms: int, out: _Ids, /
    ) -> None: ...
    def log_ages(
        self,
        column: Column,
        starts: _Ids,
        offsets: _Ids,
        mul: int,
        div: int,
        now: _Ids,
        out: _Floats,
        index: int,
        /,
    ) -> None: ...
    def run(self, threads: int, statuses: _Ids, /) -> None: ...

class Transform:
    def __init__(self) -> None: ...
    def source(self, child: int, kind: Kind, width: int, newest: int, like: int, /) -> int: ...
    def matrix(self, source: int, width: int, /) -> int: ...
    def ids(self, source: int, /) -> int: ...
    def cross(self, left: int, right: int, /) -> int: ...
    def buckets(self, source: int, edges: list[float], /) -> int: ...
    def time_parts(self, source: int, mul: int, div: int, part: Part, shift_ms: int, /) -> int: ...
    def times(self, source: int, mul: int, div: int, /) -> int: ...
    def dense(
        self,
        source: int,
        low: float,
        high: float,
        log: bool,
        mean: float,
        std: float,
        fill: Fill,
        fill_value: float,
        matrix: int,
        index: int,
        /,
    ) -> int: ...
    def log_ages(self, source: int, mul: int, div: int, now: int, matrix: int, index: int, /) -> int: ...
    def slot(self, step: int, gaps: bool, /) -> None: ...
    def measure(self, batch: object, starts: _Ids, offsets: _Ids, /) -> bool: ...
    def run(
        self,
        batch: object,
        sizes: list[int],
        starts: _Ids,
        offsets: _Ids,
        ints: _Ids,
        known: NDArray[np.uint8],
        floats: _Floats,
        statuses: _Ids,
        found: _Ids,
        /,
    ) -> int: ...

def pad(offsets: _Ids, dense: _Floats, mask: NDArray[np.bool_], out: _Floats, /) -> bool: ...
def xxh3(text: bytes, /) -> int: ...

# ---- feed

def mmr(
    relevance: _Floats, vectors: _Floats, balance: float, window: int, items: _Ids, diversity: _Numbers, /
) -> None: ...
def dpp(
    relevance: _Floats, vectors: _Floats, balance: float, window: int, items: _Ids, diversity: _Numbers, /
) -> None: ...
def ssd(
    relevance: _Floats, vectors: _Floats, gamma: float, window: int, items: _Ids, diversity: _Numbers, /
) -> None: ...

# ---- serving

class Columns:
    """The columns of a schema, by name and the type that ``serve.columns`` calls so, ready to take values."""

    def __init__(self, typed: Sequence[tuple[str, str]]) -> None: ...
    def take(self, values: dict[str, Any], row: bool) -> tuple[int, dict[str, int]] | None:
        """The address of an ArrowArray, this thread's until its next call, and nulls by column."""

    def row(
        self, json: bytes, spans: Sequence[tuple[int, int]], time: int, now: int
    ) -> tuple[int, dict[str, int]] | None: ...
    def rows(
        self, json: bytes, span: tuple[int, int], item: int, most: int
    ) -> tuple[int, dict[str, int]] | None: ...

def tensors(
    context: Columns,
    candidates: Columns,
    body: bytes,
    inputs: tuple[int, int],
    data: int,
    item: int,
    most: int,
    time: int,
    now: int,
    /,
) -> tuple[tuple[int, dict[str, int]], tuple[int, dict[str, int]]] | None: ...
def message_tensors(
    context: Columns, candidates: Columns, message: bytes, item: int, most: int, time: int, now: int, /
) -> tuple[tuple[int, dict[str, int]], tuple[int, dict[str, int]]] | None: ...
def message_rest(message: bytes, most: int, /) -> bytes | None: ...
def parted(document: bytes, names: Sequence[str]) -> tuple[bytes, list[tuple[int, int] | None]] | None: ...
def page(
    items: _Ids | Sequence[bytes],
    order: _Ids,
    value: _Numbers,
    scores: Sequence[_Floats],
    names: Sequence[bytes],
    /,
) -> bytes: ...
