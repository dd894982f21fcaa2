"""A request to rank candidates and what answers it. Knows nothing of sockets, of queues or of networks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.batch import Floats, Ids
from larix.feed import Explanation


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """Which state of a model an answer is of: one state of the rows and one of the network, of one history.

    ``version``: of the bundle or snapshot that it began with. ``history``: the training line. ``rows`` and ``dense``:
    sequence numbers; dense is never newer than rows. ``event_ms``: the latest event time in the rows; 0 if not known.
    """

    model: str
    version: str
    history: str = ""
    rows: int = 0
    dense: int = 0
    event_ms: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """``candidates`` (``n`` rows) to be scored for ``context`` (one row: the user and all that is alike for candidates).

    Columns are as the model's Signature has them. ``user``: a key that shares of traffic are cut by. ``deadline``: of
    ``time.monotonic()``, in seconds; inf is none. ``count``: items on the page; None is all. ``explain``: whether to say where
    values come from. ``session``: ``context`` stands in an open session; see ``sessions``. ``diversity``: False orders the page
    by value alone.
    """

    id: str
    candidates: pa.RecordBatch
    context: pa.RecordBatch | None = None
    model: str = ""
    version: str = ""
    user: int = 0
    deadline: float = math.inf
    count: int | None = None
    explain: bool = False
    session: str = ""
    diversity: bool = True


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answer:
    """``order``: int64 ``[k]``, the page: positions in the request's candidates, best first. ``value``: float64 ``[n]``.

    ``predictions``: by task float32 ``[n]``, a probability or seconds. ``missing``: by slot or column, how many values were not
    given or have no row. ``seconds``: by stage.
    """

    id: str
    stamp: Stamp
    order: Ids
    value: NDArray[np.float64]
    predictions: Mapping[str, Floats]
    explanation: Explanation | None = None
    missing: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
