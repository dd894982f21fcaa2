"""What the engine asks of a model that is ready to score. Knows nothing of queues, of sockets or of how it is carried out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
from numpy.typing import NDArray

from larix.batch import Floats
from larix.features import Task
from larix.serve.request import Stamp


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class User:
    """The request's side, computed once: what the candidates' graph reads of it. Nobody writes into it.

    ``size_bytes``: of what it holds. ``scene``: the request's scene, None if the sample has none. ``shared``: one row of those
    columns that the candidates' features read, too. ``network``: what computed it; no Scorer of another one takes it.
    """

    arrays: Mapping[str, NDArray[Any]]
    stamp: Stamp
    scene: int | None = None
    size_bytes: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    shared: pa.RecordBatch | None = None
    network: object = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Looked:
    """``rows`` candidates looked up beside their user's side. ``vectors``: float32 ``[rows, dim]`` of items, or None.

    ``arrays`` have a row for each candidate, so that a part of them is a part of each.
    """

    user: User
    rows: int
    arrays: Mapping[str, NDArray[Any]]
    stamp: Stamp
    vectors: Floats | None = None
    missing: Mapping[str, int] = field(default_factory=dict)


class Scorer(Protocol):
    """One version of one model. Any number of threads may call; the GIL is released around work."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, in the order of logits."""
        ...

    @property
    def buckets(self) -> tuple[int, ...]:
        """Numbers of candidates that a run takes, rising."""
        ...

    @property
    def stamp(self) -> Stamp:
        """The state that it shows now."""
        ...

    def user(self, context: pa.RecordBatch) -> User:
        """The side of one request: features, rows and the request's part of the network. DataError if it does not fit."""
        ...

    def look_up(self, user: User, candidates: pa.RecordBatch) -> Looked:
        """The sparse stage of candidates: features and rows, all of one state. DataError if they do not fit."""
        ...

    def score(self, looked: Sequence[Looked]) -> list[Floats]:
        """The dense stage: by request ``[rows, tasks]``, logits, or log1p of seconds. Several are computed in one run."""
        ...

    def seconds(self, rows: Sequence[int]) -> float:
        """What ``score`` takes for requests of so many candidates, as measured when it was loaded; inf if it cannot."""
        ...


@runtime_checkable
class Joint(Protocol):
    """What a Scorer may offer besides: the sparse stages of several requests in one go, which costs less than one by one."""

    def requests(self, asked: Sequence[tuple[pa.RecordBatch, pa.RecordBatch]]) -> list[Looked]:
        """``user`` and ``look_up`` of each context and its candidates, all of one state; DataError if one does not fit."""
        ...
