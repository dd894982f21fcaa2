"""What a body asks for, whatever it is sent to: its fields, and its user's and candidates' columns, made into a request.

Columns are read out of the text natively where they are plain; where not, as Python's values, which tells what is wrong.
"""

import time
from collections.abc import Callable
from typing import Annotated, Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec
import pyarrow as pa
from msgspec import Meta

from larix.errors import DataError, LarixError
from larix.serve.columns import parted
from larix.serve.http.call import Call, document_of
from larix.serve.http.limits import Limits
from larix.serve.refusal import Refusal, Why
from larix.serve.request import Request
from larix.serve.service import Columns

Row = dict[str, Any]
Candidates = list[Row] | dict[str, list[Any]]
Milliseconds = Annotated[float, Meta(gt=0, le=1e9)]
Count = Annotated[int, Meta(ge=1, le=2**31)]

_PARTS = ("user", "context", "candidates")


class Body(Protocol):
    """What all bodies have. Those without ``user`` and ``context`` have no row of their own."""

    @property
    def candidates(self) -> Candidates | None:
        """Objects, or lists by column."""
        ...

    @property
    def count(self) -> int | None:
        """Items on the page."""
        ...

    @property
    def explain(self) -> bool:
        """Whether to say where values come from."""
        ...

    @property
    def diversity(self) -> bool:
        """Whether the page is chosen by more than value."""
        ...

    @property
    def timeout_ms(self) -> float | None:
        """From the request's arrival on."""
        ...


T = TypeVar("T", bound=Body)


class Read(NamedTuple):
    """Columns that were read: None and nothing where a body has none. ``missing``: by column, how many are not given."""

    rows: pa.RecordBatch | None
    missing: dict[str, int]


_NOTHING = Read(None, {})


class Asked(NamedTuple, Generic[T]):
    """``document``: the body's fields, of which those that ``context`` and ``candidates`` were read from may be empty."""

    document: T
    columns: Columns
    context: Read
    candidates: Read

    def request(self, call: Call, limits: Limits, **more: Any) -> Request:
        """What is asked of whoever ranks. ``more``: who that is, as Request has it."""
        document, context = self.document, self.context.rows
        return Request(
            id=call.id,
            candidates=self.candidates.rows,
            context=context,
            deadline=call.deadline(document.timeout_ms, limits),
            user=0 if context is None else self.columns.user_of(context),
            count=document.count,
            explain=document.explain,
            diversity=document.diversity,
            **more,
        )


class Asking(Generic[T]):
    """Reads bodies of one ``kind``."""

    def __init__(self, kind: type[T], limits: Limits) -> None:
        self._limits = limits
        self._decoder = msgspec.json.Decoder(kind)
        self._has_row = "user" in kind.__annotations__

    def read(self, body: bytes, columns_of: Callable[[T], Columns], now_ms: int) -> Asked[T]:
        """``columns_of``: how columns are read, by the body's other fields. ``now_ms``: milliseconds since the epoch.

        DataError if it is not what is expected, Refusal (TOO_LARGE) if it is too much.
        """
        return self._plainly(body, columns_of, now_ms) or self._told(body, columns_of, now_ms)

    def _plainly(self, body: bytes, columns_of: Callable[[T], Columns], now_ms: int) -> Asked[T] | None:
        """None if anything is wrong, or only might be: then each value is looked at."""
        if len(body) > self._limits.json_bytes or (parts := parted(body, _PARTS)) is None:
            return None
        rest, (user, context, candidates) = parts
        try:
            document = self._decoder.decode(rest)
            columns = columns_of(document)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LarixError):
            return None
        own = theirs = _NOTHING
        if self._has_row:
            spans = [each for each in (user, context) if each is not None]
            if (found := columns.context_in(body, spans, now_ms)) is None:
                return None
            own = Read(*found)
        if candidates is not None:
            if (found := columns.candidates_in(body, candidates, self._limits.candidates)) is None:
                return None
            theirs = Read(*found)
        return Asked(document, columns, own, theirs)

    def _told(self, body: bytes, columns_of: Callable[[T], Columns], now_ms: int) -> Asked[T]:
        document: Any = document_of(self._decoder, body, self._limits)
        columns = columns_of(document)
        own = theirs = _NOTHING
        if self._has_row:
            own = Read(*columns.context_of(merged(document.user, document.context), now_ms))
        if document.candidates is not None:
            check_number(document.candidates, self._limits)
            theirs = Read(*columns.candidates_of(document.candidates))
        return Asked(document, columns, own, theirs)


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
