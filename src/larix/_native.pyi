# What the compiled core offers; its doors, embedding/table.py and features/kernels.py, check arguments.
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# ---- embedding

_Ids = NDArray[np.int64]
_Floats = NDArray[np.float32]
_Handles = NDArray[np.uint64]
_Jagged = tuple[_Ids, _Ids | None, _Floats | None]

class Plan:
    def __init__(
        self, slots: Sequence[tuple[int, int, int, int]], outputs: Sequence[tuple[int, int]]
    ) -> None: ...

class Store:
    def __init__(
        self,
        groups: Sequence[tuple[int, int, float, float, float, float, float]],
        tables: Sequence[tuple[int, int, int, float]],
        threads: int,
    ) -> None: ...
    def gather(
        self,
        plan: Plan,
        jaggeds: list[_Jagged],
        outs: list[_Floats],
        samples: int,
        handles: _Handles,
        insert: bool,
        /,
    ) -> int: ...
    def apply(
        self,
        plan: Plan,
        jaggeds: list[_Jagged],
        grads: list[_Floats],
        samples: int,
        handles: _Handles,
        lr_scale: float,
        /,
    ) -> None: ...
    def lookup(self, table: int, ids: _Ids, out: _Floats, insert: bool, /) -> None: ...
    def update(self, table: int, ids: _Ids, grads: _Floats, lr_scale: float, /) -> None: ...
    def rows(self, table: int, /) -> int: ...
    def keys(self, table: int, /) -> _Ids: ...
    def read(self, table: int, ids: _Ids, weights: _Floats, state: _Floats, /) -> None: ...
    def put(self, table: int, ids: _Ids, weights: _Floats, state: _Floats, /) -> None: ...
    def remove(self, table: int, ids: _Ids, /) -> int: ...
    def counts(self) -> tuple[int, int, int, int, int, int]: ...
