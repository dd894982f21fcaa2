"""Logs as lines of JSON, a record each, written by a thread of their own so that nobody waits for a slow disk or pipe.

Knows the standard library's logging; knows nothing of what is logged.
"""

import json
import logging
import math
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

from larix.errors import ConfigError

request_id: ContextVar[str] = ContextVar("request_id", default="")
_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LONGEST = 16 << 10  # characters of one value


@contextmanager
def of_request(id: str) -> Iterator[None]:
    """What is logged within, on this thread or in this task, is of a request."""
    token = request_id.set(id)
    try:
        yield
    finally:
        request_id.reset(token)


def line(record: logging.LogRecord) -> str:
    """A record as one line of JSON.

    ``time`` (UTC), ``level``, ``logger``, ``message``; ``request``, its id, from ``extra`` or `of_request`; whatever else
    ``extra`` brought; ``error``, the traceback. ASCII alone, whatever is logged: no value ends a line or moves a cursor.
    """
    told: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _message(record),
    }
    if request := request_id.get():
        told["request"] = request
    told |= {name: value for name, value in vars(record).items() if name not in _KNOWN}
    if record.exc_info and record.exc_info[0] is not None:
        told["error"] = logging.Formatter().formatException(record.exc_info)
    return json.dumps({name: _plain(value) for name, value in told.items()}, separators=(",", ":"))


class Logs(logging.Handler):
    """Writes records to ``stream`` by a thread of its own. At most ``waiting`` lines wait; those that come then are dropped and
    counted, and the stream is told how many. `close` writes what waits.
    """

    def __init__(self, stream: TextIO | None = None, *, waiting: int = 10_000) -> None:
        super().__init__()
        if waiting < 1:
            raise ConfigError(f"{waiting} lines of the log may wait; it must be 1 or more")
        self.dropped = 0
        self._stream = sys.stderr if stream is None else stream
        self._lines: queue.Queue[str | None] = queue.Queue(waiting)
        self._told = 0  # of those dropped
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; never blocks and never raises."""
        try:
            text = line(record)
        except Exception as error:
            text = json.dumps(
                {"level": "error", "logger": __name__, "message": f"a record could not be told: {error!r}"}
            )
        if self._closed:
            return
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self.dropped += 1  # `handle` holds the handler's lock

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits, and end the thread; whoever reads the stream may be too slow for all of it."""
        if not self._closed:
            self._closed = True
            threading.Thread(target=self._lines.put, args=(None,), name="end of logs", daemon=True).start()
            self._thread.join(timeout_s)
        super().close()

    def _run(self) -> None:
        while (text := self._lines.get()) is not None:
            self._write(text)
            missed = self.dropped - self._told
            if missed and self._lines.qsize() < self._lines.maxsize // 2:
                self._told += missed
                self._write(
                    json.dumps(
                        {"level": "warning", "logger": __name__, "message": f"{missed} lines were dropped"}
                    )
                )
            if self._lines.empty():
                self._flush()
        self._flush()

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
        except (OSError, ValueError):  # a full disk, a closed pipe: those who serve go on
            self.dropped += 1
            self._told += 1

    def _flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


@contextmanager
def logging_to(
    stream: TextIO | None = None, *, level: int = logging.INFO, logger: str = "larix"
) -> Iterator[Logs]:
    """Have what ``logger`` and those below it log from ``level`` on written to ``stream``, standard error if None."""
    root, logs = logging.getLogger(logger), Logs(stream)
    before = root.level
    root.setLevel(level)
    root.addHandler(logs)
    try:
        yield logs
    finally:
        root.removeHandler(logs)
        root.setLevel(before)
        logs.close()


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit the text
        return f"{record.msg} {record.args!r}"


def _plain(value: Any) -> Any:
    """What JSON has a word for; text for all else."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... and {len(text) - _LONGEST} more"
