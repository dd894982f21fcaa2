"""`/v1/rank` and what sessions share with it: plain JSON of a user and candidates to a request, an answer to plain JSON.

Knows nothing of tensors or of HTTP's own words.
"""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import pyarrow as pa
from msgspec import Meta

from larix.batch import Ids
from larix.errors import DataError
from larix.serve.http.call import Call, Route, answered, document_of, named
from larix.serve.http.limits import Limits
from larix.serve.http.reply import Reply, reply_of
from larix.serve.refusal import Refusal, Why
from larix.serve.request import Answer, Request, Stamp
from larix.serve.service import Columns, Service

Row = dict[str, Any]
Candidates = list[Row] | dict[str, list[Any]]
Milliseconds = Annotated[float, Meta(gt=0, le=1e9)]
Count = Annotated[int, Meta(ge=1, le=2**31)]


class RankBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What `/v1/rank` takes. ``user`` and ``context`` are one row; ``candidates`` are objects, or lists by column."""

    candidates: Candidates
    user: Row = {}
    context: Row = {}
    model: str = ""
    version: str = ""
    count: Count | None = None
    explain: bool = False
    diversity: bool = True
    timeout_ms: Milliseconds | None = None


class Item(msgspec.Struct, omit_defaults=True):
    """An item of the page. ``position``: from 0. ``why``: where its value comes from, if it was asked for."""

    item: int | float | str | bool | None
    position: int
    value: float
    scores: dict[str, float]
    why: dict[str, Any] | None = None


class State(msgspec.Struct, kw_only=True):
    """Which state of the model answered: sequence numbers of rows and network, and the latest event time in the rows."""

    history: str
    rows: int
    dense: int
    event_ms: int


class Page(msgspec.Struct, kw_only=True):
    """What `/v1/rank` answers: items best first. ``missing``: by slot or column, values not given or not known."""

    id: str
    model: str
    version: str
    stamp: State
    items: list[Item]
    missing: dict[str, int]


class Ranking:
    """Answers `/v1/rank` by ``service``."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self._service, self._limits = service, limits
        self._decoder = msgspec.json.Decoder(RankBody)

    def routes(self) -> list[Route]:
        """What it answers."""
        return [Route(method="POST", path="/v1/rank", handler=self.rank, room=self._service.check_room)]

    async def rank(self, call: Call) -> Reply:
        """Rank candidates for a user in one call."""
        asked = document_of(self._decoder, call.body, self._limits)
        model = named(self._service, asked.model)
        columns = self._service.signature(model, asked.version)
        context, not_given = columns.context_of(merged(asked.user, asked.context), now_ms())
        check_number(asked.candidates, self._limits)
        candidates, missing = columns.candidates_of(asked.candidates)
        request = Request(
            id=call.id,
            candidates=candidates,
            context=context,
            model=model,
            version=asked.version,
            user=columns.user_of(context),
            deadline=call.deadline(asked.timeout_ms, self._limits),
            count=asked.count,
            explain=asked.explain,
            diversity=asked.diversity,
        )
        answer = await answered(self._service.rank(request), request.deadline)
        return reply_of(page_of(answer, request, columns, {**not_given, **missing}))


def page_of(answer: Answer, request: Request, columns: Columns, missing: Mapping[str, int]) -> Page:
    """The answer in plain words. ``missing``: what was not given, beside what the answer says of it."""
    order, why = answer.order, answer.explanation
    scores = (array[order].tolist() for array in answer.predictions.values())
    shown = (  # of all items, part by part: nothing here is looked at item by item
        _items(request.candidates.column(columns.item), order),
        range(len(order)),
        answer.value[order].tolist(),
        map(_scores_of(tuple(answer.predictions)), *scores),
    )
    return Page(
        id=answer.id,
        model=answer.stamp.model,
        version=answer.stamp.version,
        stamp=state_of(answer.stamp),
        items=list(map(Item, *shown) if why is None else map(Item, *shown, map(why.item, order.tolist()))),
        missing={name: count for name, count in {**missing, **answer.missing}.items() if count},
    )


@lru_cache
def _scores_of(tasks: tuple[str, ...]) -> Callable[..., Any]:
    """What makes the scores of an item of one score a task, in their order: several times faster than dicts are."""
    fields = [f"score_{at}" for at in range(len(tasks))]
    try:
        return msgspec.defstruct("Scores", fields, rename=dict(zip(fields, tasks, strict=True)), gc=False)
    except ValueError:  # a name that JSON has to escape
        return lambda *scores: dict(zip(tasks, scores, strict=True))


def _items(column: pa.Array, order: Ids) -> list[Any]:
    """What names the candidates at ``order``, of which there is one each."""
    if pa.types.is_integer(column.type):
        return list(column.to_numpy()[order].tolist())
    return list(column.take(order).to_pylist())


def state_of(stamp: Stamp) -> State:
    """A stamp in plain words."""
    return State(history=stamp.history, rows=stamp.rows, dense=stamp.dense, event_ms=stamp.event_ms)


def merged(user: Row, context: Row) -> Row:
    """The one row that both are part of. DataError for a column that is in both."""
    both = user.keys() & context.keys()
    if both:
        raise DataError(f"column '{min(both)}' is in user and in context; give it once")
    return {**user, **context}


def check_number(candidates: Candidates, limits: Limits) -> None:
    """Raise Refusal (TOO_LARGE) for more candidates than are allowed, before anything is made of them."""
    if isinstance(candidates, list):
        number = len(candidates)
    else:
        number = max(map(len, candidates.values()), default=0)
    if number > limits.candidates:
        raise Refusal(
            Why.TOO_LARGE, f"there are {number} candidates; at most {limits.candidates} are allowed"
        )


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
