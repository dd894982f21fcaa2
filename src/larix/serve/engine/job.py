"""A request on its way through the engine, and the pieces of work that it is made of. Knows nothing of who does them."""

import math
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import pyarrow as pa

from larix.batch import Floats
from larix.serve.engine.costs import Costs, Line, Runs
from larix.serve.request import Answer, Request
from larix.serve.scorer import Joint, Looked, Scorer, User

Stage = Literal["sparse", "dense", "page"]


class PageMaker(Protocol):
    """The last stage: from logits to an answer. Any number of threads may call."""

    def answer(
        self, request: Request, looked: Looked, logits: Floats, seconds: Mapping[str, float]
    ) -> Answer:
        """``logits``: float32 ``[rows, tasks]``. ``seconds``: of the answer, by stage."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Target:
    """What answers a request: one version of a model, made once and shared by its requests.

    ``user``: the request's side where it is kept already, in a session. ``costs``: what the engine learns of this version; a
    target made from another by ``dataclasses.replace`` knows it, too. ``runs``: what its runs cost, and ``joint``: whether
    requests can share the sparse stage; made from ``scorer``.
    """

    scorer: Scorer
    pages: PageMaker
    user: User | None = None
    costs: Costs = field(default_factory=Costs)
    runs: Runs = None  # type: ignore[assignment] # the scorer's, always
    joint: bool = False

    def __post_init__(self) -> None:
        if self.runs is None or self.runs.scorer is not self.scorer:
            object.__setattr__(self, "runs", Runs(self.scorer))
            object.__setattr__(self, "joint", isinstance(self.scorer, Joint))


@dataclass(kw_only=True, slots=True, eq=False)
class Job:
    """One request, or the opening of a session: then ``request`` is None, and the sparse stage is all.

    ``expected``: seconds of work by stage; ``todo``: those not begun. ``future``: None as long as the caller's own thread
    carries it out. ``over``: answered, refused or given up; then ``answer`` or ``error`` is there.
    """

    target: Target
    request: Request | None
    context: pa.RecordBatch | None
    deadline: float
    arrived: float
    rows: int = 0
    size_bytes: int = 0
    expected: dict[Stage, float] = field(default_factory=dict)
    todo: float = 0.0
    future: Future[Any] | None = None
    looked: Looked | None = None
    parts: list[Floats | None] = field(default_factory=list)
    waiting: int = 0
    began: float = math.nan
    ready: float = 0.0
    dense: float = 0.0
    scored: float = 0.0
    over: bool = False
    answer: Any = None
    error: BaseException | None = None

    def hopeless(self, now: float, least: float = 0.0) -> bool:
        """Whether nobody waits for it any more, or it cannot be in time. ``least``: seconds it takes from now on."""
        return now + least > self.deadline or (self.future is not None and self.future.cancelled())

    @property
    def sparse_cost(self) -> Line:
        """What its sparse stage costs by rows."""
        costs = self.target.costs
        if self.request is None:
            return costs.user
        return costs.sparse if self.target.user is None else costs.candidates


@dataclass(slots=True, eq=False)
class Piece:
    """Looked-up candidates of ``job`` that go into one run.

    ``at``: which of the job's pieces. ``cost``: its part of the job's expected seconds. ``ready``: when it began to wait.
    """

    job: Job
    looked: Looked
    at: int
    ready: float
    cost: float


@dataclass(slots=True, eq=False)
class Work:
    """What one thread does at a time: the sparse stage or the page of ``jobs``, or a run of ``pieces``.

    ``result``: by job a User, Looked or Answer, or by piece logits; or what went wrong with it. ``error``: what went wrong with
    all of it. ``inline``: on the thread of whoever asked. ``given_up``: it took too long, and those it was for have been told so.
    ``through``: what follows for its only job is done at once, as far as that is not late; ``now``: the stage that it has come
    to, and ``answers`` the page, or what went wrong with it.
    """

    stage: Stage
    jobs: list[Job]
    pieces: list[Piece]
    began: float
    result: Any = None
    error: BaseException | None = None
    inline: bool = False
    given_up: bool = False
    through: bool = False
    now: Stage = "sparse"
    answers: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = self.stage

    @property
    def target(self) -> Target:
        """What carries it out: all that is in it are for the same Scorer."""
        return self.jobs[0].target if self.jobs else self.pieces[0].job.target
