"""Where people's actions go: checked, bounded while they wait, written by one thread, and told of when they are on disk.

Knows neither logs nor sockets: it is given what appends, and what says to which partition.
"""

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.errors import ConfigError, DataError, StorageError
from larix.serve import columns
from larix.serve.ledger import Ledger
from larix.serve.refusal import Refusal, Why

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackSettings:
    """``waiting_bytes``: of rows that wait to be written, at most; ``bearer_share`` of that for one bearer. ``together``: rows
    that are written at once, at most, unless one request has more. ``retry_s``: when to come again after it did not work.
    """

    waiting_bytes: int = 64 << 20
    bearer_share: float = 0.5
    together: int = 8192
    retry_s: float = 5.0

    def __post_init__(self) -> None:
        if self.waiting_bytes < 1 or self.together < 1:
            raise ConfigError(
                f"feedback's waiting_bytes and together must be 1 or more, got {self.waiting_bytes} and {self.together}"
            )
        if not 0 < self.bearer_share <= 1:
            raise ConfigError(f"feedback's bearer_share is {self.bearer_share!r}; it must be in (0, 1]")
        if not self.retry_s >= 0:
            raise ConfigError(f"feedback's retry_s is {self.retry_s!r}; it must be 0 seconds or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackStats:
    """``waiting_bytes``: now. Rows since the start: ``written``; ``failed``, whose writing did not work; ``refused`` at the door,
    as too many waited or nobody writes any more; ``cancelled`` by who sent them. ``trouble``: of a last write to a
    partition, "" if all worked.
    """

    waiting_bytes: int = 0
    written: int = 0
    failed: int = 0
    refused: int = 0
    cancelled: int = 0
    trouble: str = ""

    @property
    def gauges(self) -> Mapping[str, float]:
        """By name, as `ServiceStats.gauges` has them; what is counted since the start ends in ``_total``."""
        rows = {
            name: value for name, value in asdict(self).items() if name not in ("trouble", "waiting_bytes")
        }
        return {
            "feedback_waiting_bytes": float(self.waiting_bytes),
            "feedback_trouble": float(bool(self.trouble)),
            **{f"feedback_{name}_rows_total": float(value) for name, value in rows.items()},
        }


@dataclass(slots=True, eq=False)
class _Sent:
    parts: dict[int, pa.RecordBatch]  # by partition
    bearer: bytes
    size: int
    future: Future[int]
    kept: int = 0
    error: DataError | Refusal | None = None

    @property
    def rows(self) -> int:
        """How many."""
        return sum(map(len, self.parts.values()))


class Feedback:
    """Takes actions and has them appended. Any number of threads may call; what goes wrong is raised by the futures.

    ``append``: writes rows to a partition and returns when they are durable, all of them or none; StorageError if it cannot,
    DataError if they are not what it takes. It is called by one thread, with the rows of several requests at once where they
    come faster than they are written. ``schema``: the columns, null where nullable and not given. ``time``: the column of when
    it happened, milliseconds; now if not given. ``event_id``: the string column that tells an event from its copy; made if not
    given: who gives it may send an action again and it counts once. ``partitions``: says of rows which partition each goes to,
    DataError if it cannot; all to 0 by default. Close it, or use ``with``.
    """

    def __init__(
        self,
        append: Callable[[pa.RecordBatch, int], object],
        schema: pa.Schema,
        settings: FeedbackSettings | None = None,
        *,
        time: str | None = None,
        event_id: str | None = None,
        partitions: Callable[[pa.RecordBatch], NDArray[np.int64]] | None = None,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        for what, name, wanted in (("time", time, pa.int64()), ("event_id", event_id, pa.string())):
            if name is not None and (name not in schema.names or schema.field(name).type != wanted):
                raise ConfigError(
                    f"{what} '{name}' is no {wanted} column of the actions, which are {schema.names}"
                )
        self.schema = schema
        self.settings = settings = FeedbackSettings() if settings is None else settings
        self._append, self._partitions = append, partitions
        self._time, self._event_id, self._now_ms = time, event_id, now_ms
        self._taken = Ledger(settings.waiting_bytes, int(settings.waiting_bytes * settings.bearer_share))
        self._waiting: deque[_Sent] = deque()
        self._changed = threading.Condition()
        self._over = False
        self._counts = {"written": 0, "failed": 0, "refused": 0, "cancelled": 0}
        self._troubles: dict[int, str] = {}  # by partition, until a write to it works
        self._thread = threading.Thread(target=self._run, name="feedback", daemon=True)
        self._thread.start()

    def append(self, actions: Sequence[Mapping[str, Any]], *, bearer: str = "") -> "Future[int]":
        """Take rows, values by column; the future holds their number when they are on disk.

        DataError names row and column that do not fit. Refusal: OVERLOADED if too many wait, UNAVAILABLE if they could not be
        written or nobody writes any more; TOO_LARGE if they never could wait. What was refused was not kept: send it again. Of
        rows for several partitions some may have been kept when another's could not be: the refusal tells how many.
        """
        future: Future[int] = Future()
        try:
            rows = self._rows(actions)
            self._take(_Sent(self._apart(rows), bearer.encode(), rows.get_total_buffer_size(), future))
        except (DataError, Refusal) as error:
            future.set_exception(error)
        return future

    @property
    def stats(self) -> FeedbackStats:
        """What was counted."""
        with self._changed:
            return FeedbackStats(
                waiting_bytes=self._taken.total,
                trouble=next(iter(self._troubles.values()), ""),
                **self._counts,
            )

    def close(self, timeout_s: float = 10.0) -> bool:
        """Take no more and write what waits; whether all was written in time. What was not is refused, and told so."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            popped = [self._pop() for _ in range(len(self._waiting))]
        left = [sent for sent in popped if sent is not None]
        for sent in left:
            sent.error = _STOPPING
        self._tell(left)
        return not left and not self._thread.is_alive()

    def __enter__(self) -> "Feedback":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, actions: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
        for row, action in enumerate(actions):
            if not isinstance(action, Mapping):
                raise DataError(
                    f"action {row} is a {type(action).__name__}; expected an object of values by column"
                )
            if unknown := sorted(set(action) - set(self.schema.names), key=str):
                raise DataError(
                    f"action {row} has a column '{unknown[0]}'; the columns are {', '.join(self.schema.names)}"
                )
        made: dict[str | None, Callable[[], object]] = {
            self._time: self._now_ms,
            self._event_id: lambda: uuid.uuid4().hex,
        }
        arrays = []
        for field in self.schema:
            values = [action.get(field.name) for action in actions]
            if (make := made.get(field.name)) is not None:
                values = [make() if value is None else value for value in values]
            array = columns.column(field.name, values, field.type)
            if array.null_count and not field.nullable:
                raise DataError(f"action {columns.first_null(array)} has no '{field.name}'; give one")
            arrays.append(array)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _apart(self, rows: pa.RecordBatch) -> dict[int, pa.RecordBatch]:
        if self._partitions is None or not len(rows):
            return {0: rows} if len(rows) else {}
        of = self._partitions(rows)
        found = np.unique(of).tolist()
        return {each: rows if len(found) == 1 else rows.filter(pa.array(of == each)) for each in found}

    def _take(self, sent: _Sent) -> None:
        with self._changed:
            if self._over:
                self._counts["refused"] += sent.rows
                raise _told(_STOPPING, 0, sent.rows)
            if sent.size > self._taken.each:
                self._counts["refused"] += sent.rows
                raise Refusal(
                    Why.TOO_LARGE,
                    f"these actions take {sent.size} bytes, more than the {self._taken.each} that one bearer's may: send fewer",
                )
            if self._taken.lacks(sent.bearer, sent.size):
                self._counts["refused"] += sent.rows
                raise Refusal(
                    Why.OVERLOADED,
                    "more actions wait to be written than there is room for; these were not taken: send them again",
                    retry_after_s=1.0,
                )
            self._taken.take(sent.bearer, sent.size)
            self._waiting.append(sent)
            self._changed.notify_all()

    def _run(self) -> None:
        while (sent := self._next()) is not None:
            for partition in sorted({each for one in sent for each in one.parts}):
                # Of what failed in one partition nothing more goes to others: mostly none of it is there then.
                self._write(partition, [one for one in sent if partition in one.parts and one.error is None])
            self._tell(sent)

    def _next(self) -> list[_Sent] | None:
        """Those to be written together; None when all is over."""
        with self._changed:
            while not self._waiting:
                if self._over:
                    return None
                self._changed.wait()
            found: list[_Sent] = []
            rows = 0
            most = self.settings.together
            while self._waiting and (not found or rows + self._waiting[0].rows <= most):
                if (sent := self._pop()) is not None:
                    found.append(sent)
                    rows += sent.rows
            return found

    def _pop(self) -> _Sent | None:
        """The one that waits longest, which can be cancelled no more; None if it was. The lock is held."""
        sent = self._waiting.popleft()
        if sent.future.set_running_or_notify_cancel():
            return sent
        self._counts["cancelled"] += sent.rows
        self._taken.give(sent.bearer, sent.size)
        return None

    def _write(self, partition: int, sent: list[_Sent]) -> None:
        if not sent:
            return
        try:
            self._append(pa.concat_batches([each.parts[partition] for each in sent]), partition)
        except StorageError as error:
            if str(error) != self._troubles.get(partition):  # once, not for every try on a full disk
                _LOG.error("actions cannot be written: %s", error)
            self._fail(partition, sent, Why.UNAVAILABLE, _FULL, str(error))
        except Exception as error:
            if len(sent) > 1:  # one of them may be why: it must not take the others with it
                for each in sent:
                    self._write(partition, [each])
            elif isinstance(error, DataError):
                sent[0].error = error
            else:
                _LOG.exception("actions cannot be written")
                self._fail(partition, sent, Why.BROKEN, _FAULT, repr(error))
        else:
            with self._changed:
                self._troubles.pop(partition, None)
            for each in sent:
                each.kept += len(each.parts[partition])

    def _fail(self, partition: int, sent: list[_Sent], why: Why, text: str, trouble: str) -> None:
        with self._changed:
            self._troubles[partition] = trouble
        retry_s = self.settings.retry_s if why is Why.UNAVAILABLE else None
        for each in sent:
            each.error = Refusal(why, text, retry_after_s=retry_s)

    def _tell(self, sent: list[_Sent]) -> None:
        """Say of each what became of it, and make room for others."""
        with self._changed:
            for each in sent:
                self._counts["written"] += each.kept
                self._counts["failed"] += each.rows - each.kept
                self._taken.give(each.bearer, each.size)
        for each in sent:
            if each.error is None:
                each.future.set_result(each.rows)
            else:
                each.future.set_exception(_told(each.error, each.kept, each.rows))


_FULL = "the event log cannot be written now, as its disk is full or failing"
_FAULT = "these actions could not be written by a fault of the server"
_STOPPING = Refusal(Why.UNAVAILABLE, "the server stops and takes no actions")


def _told(error: DataError | Refusal, kept: int, rows: int) -> DataError | Refusal:
    """What went wrong, and what there is of the rows."""
    if kept:
        left = f"{kept} of these {rows} were kept: send all again with the event ids that they had, and each counts once"
    else:
        left = "these were not kept"
    if not isinstance(error, Refusal):
        return DataError(f"{error}; {left}") if kept else error
    if error.why is Why.UNAVAILABLE and not kept:
        left += ": send them again"
    return Refusal(error.why, f"{error}; {left}", retry_after_s=error.retry_after_s)
