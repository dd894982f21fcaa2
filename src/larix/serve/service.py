"""What a server offers, whatever the protocol: HTTP and gRPC see one Service. Knows nothing of either, nor of how it is done."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import pyarrow as pa

from larix.features import Task
from larix.serve.request import Answer, Request, Stamp
from larix.serve.stats import ServiceStats


class State(StrEnum):
    """What a version is good for; the value is the word that the Open Inference Protocol has for it."""

    READY = "READY"
    LOADING = "LOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionStatus:
    """``reason``: why a version is UNAVAILABLE, or READY but waiting for something, as the next snapshot; "" otherwise."""

    version: str
    state: State
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelStatus:
    """``versions``: newest first. ``live``: the one that answers requests which name none; "" if there is none."""

    name: str
    versions: tuple[VersionStatus, ...] = ()
    live: str = ""

    @property
    def ready(self) -> bool:
        """Whether a request that names no version is answered."""
        return any(each.version == self.live and each.state is State.READY for each in self.versions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A session. ``id``: opaque, not to be guessed. ``ttl_s``: it ends so long after its last use, in seconds."""

    id: str
    stamp: Stamp
    ttl_s: float
    missing: Mapping[str, int]


class Columns(Protocol):
    """How requests to a model are read; what ``Signature`` offers. Both raise DataError that names column and row.

    ``context`` and ``candidates``: the columns by type. ``item``: the candidates' column that names them. ``time``: the
    context's column of when; ``optional``: columns that may be missing, as may the time.
    """

    @property
    def context(self) -> pa.Schema:
        """Columns of the request, one row."""
        ...

    @property
    def candidates(self) -> pa.Schema:
        """Columns of the candidates, a row each."""
        ...

    @property
    def typed(self) -> tuple[Mapping[str, pa.DataType], Mapping[str, pa.DataType]]:
        """The types of both by name, ready where a schema makes them anew."""
        ...

    @property
    def item(self) -> str:
        """The candidates' column that names them."""
        ...

    @property
    def time(self) -> str | None:
        """The context's column of when; now if it is not given."""
        ...

    @property
    def optional(self) -> frozenset[str]:
        """Columns that may be missing."""
        ...

    def context_of(self, values: Mapping[str, Any], now_ms: int) -> tuple[pa.RecordBatch, dict[str, int]]:
        """The one row, and how many values by column are not given."""
        ...

    def candidates_of(
        self, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> tuple[pa.RecordBatch, dict[str, int]]:
        """The rows, and how many values by column are not given."""
        ...

    def context_in(
        self, json: bytes, spans: Sequence[tuple[int, int]], now_ms: int
    ) -> tuple[pa.RecordBatch, dict[str, int]] | None:
        """The one row that the objects at ``spans`` of a text of JSON are; None if only `context_of` can tell."""
        ...

    def candidates_in(
        self, json: bytes, span: tuple[int, int], most: int
    ) -> tuple[pa.RecordBatch, dict[str, int]] | None:
        """The rows at ``span`` of a text of JSON; None if only `candidates_of` can tell, or there are more than ``most``."""
        ...

    def tensors_in(
        self, body: bytes, inputs: tuple[int, int], data: int, *, most: int, now_ms: int
    ) -> tuple[pa.RecordBatch, pa.RecordBatch] | None:
        """The one row and at most ``most`` rows of binary tensors; None if they have to be looked at one by one.

        ``inputs``: where the body's JSON tells of them; they lie one behind the other from ``data`` on.
        """
        ...

    def message_in(
        self, message: bytes, *, most: int, now_ms: int
    ) -> tuple[pa.RecordBatch, pa.RecordBatch] | None:
        """As `tensors_in`, of a ModelInferRequest of gRPC with raw contents."""
        ...

    def user_of(self, context: pa.RecordBatch) -> int:
        """What ``Request.user`` is for this context."""
        ...


class Sessions(Protocol):
    """The three-request protocol. ``bearer``: who asks; a session is another's secret to everybody else.

    Refusal: UNKNOWN for a session that there never was or that is another bearer's, EXPIRED for one that has ended.
    """

    def open(
        self,
        *,
        model: str,
        context: pa.RecordBatch,
        version: str = "",
        user: int = 0,
        ttl_s: float | None = None,
        bearer: str = "",
        id: str = "",
        deadline: float = math.inf,
    ) -> "Future[Opened]":
        """Compute the request's side and keep it. ``id``: of the request, so that a retry opens no second session.

        ``deadline``: of ``time.monotonic()``.
        """
        ...

    def open_and_score(
        self, request: Request, *, ttl_s: float | None = None, bearer: str = ""
    ) -> "Future[tuple[Opened, Answer]]":
        """`open` with the request's context and `score` its candidates, under one id; no session is left if either fails."""
        ...

    def score(self, request: Request, *, bearer: str = "") -> "Future[Answer]":
        """Score ``request.candidates`` against ``request.session``; the same ``request.id`` gives the same answer again."""
        ...

    def columns(self, session: str, *, bearer: str = "") -> Columns | None:
        """How candidates for it are read, whatever answers others now. None if nobody knows. Refusal as `score`."""
        ...

    def close(self, session: str, *, bearer: str = "") -> None:
        """End it. Closing one that has ended is no mistake."""
        ...


class Feedback(Protocol):
    """Where actions go."""

    def append(self, actions: Sequence[Mapping[str, Any]], *, bearer: str = "") -> "Future[int]":
        """Take rows; the future holds their number when they are on disk.

        DataError for rows that do not fit; Refusal: OVERLOADED if too many wait, UNAVAILABLE if they cannot be written.
        """
        ...


class Service(Protocol):
    """Everything a protocol asks for. Any number of threads may call; what returns no Future returns at once."""

    @property
    def live(self) -> bool:
        """Whether the process can still answer, now or later; if not, start another."""
        ...

    @property
    def ready(self) -> bool:
        """Whether requests are answered now: models are loaded, nothing drains."""
        ...

    @property
    def sessions(self) -> Sessions:
        """Sessions of all models."""
        ...

    @property
    def feedback(self) -> Feedback | None:
        """None if nobody takes actions."""
        ...

    def rank(self, request: Request) -> "Future[Answer]":
        """Answer a request. The future raises DataError (the request is malformed) or Refusal; cancelling it drops the work."""
        ...

    def check_room(self) -> None:
        """Raise Refusal (OVERLOADED), which is counted, if `rank` would refuse whatever it was asked now.

        Costs next to nothing, so that a request is asked for before it is read.
        """
        ...

    @property
    def names(self) -> Sequence[str]:
        """Of the models that can be asked for; costs nothing, so that every request may look."""
        ...

    def models(self) -> Sequence[ModelStatus]:
        """Every model that can be asked for, by name."""
        ...

    def signature(self, model: str, version: str = "") -> Columns:
        """How requests are read. ``version``: "" is the live one. Refusal UNKNOWN or UNAVAILABLE."""
        ...

    def tasks(self, model: str, version: str = "") -> tuple[Task, ...]:
        """What is predicted, in the order of outputs. Refusal UNKNOWN or UNAVAILABLE."""
        ...

    def load(self, model: str) -> None:
        """Load the newest version of a model, or load it again. Returns when it is READY. Refusal UNKNOWN or UNAVAILABLE."""
        ...

    def unload(self, model: str) -> None:
        """Answer what is under way and let go of a model. Refusal UNKNOWN."""
        ...

    def stats(self, model: str | None = None) -> ServiceStats:
        """What was counted since the start; of one model alone if it is named."""
        ...

    def drain(self, timeout_s: float) -> bool:
        """Take no more requests, answer those under way; whether all were answered in time. Refuses with UNAVAILABLE since."""
        ...
