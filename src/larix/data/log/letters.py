"""Dead letters: events that a consumer could not use, kept in a topic with the reason. Knows nothing of consumers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from larix.data.log.columns import Rejected
from larix.data.log.events import Events, Unreadable

_LARGE = 1 << 18  # bytes of rows in one letter; Kafka's own limit of a message is about four times that

SCHEMA = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),  # of the append
        ("time_ms", pa.int64()),  # when it was appended
        ("rows", pa.list_(pa.int64())),  # which of it; empty if it could not be read at all
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("content", pa.binary()),  # the rows as an Arrow stream, or the message as it came
    ]
)


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """Rows of one append that share a reason (``detail`` says more of the first), or a message that could not be read."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    reason: str
    detail: str
    rows: pa.RecordBatch | None
    raw: bytes | None


def unreadable(message: Unreadable) -> dict[str, Any]:
    """A message as a row of the topic."""
    return _row(message, [], message.reason, "", message.raw)


def rejected(events: Events, some: Rejected) -> list[dict[str, Any]]:
    """Some rows of an append as rows of the topic: few, each of a size that a message may have."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, events.rows.schema) as stream:
        stream.write_batch(events.rows.take(pa.array(some.rows)))
    content, half = sink.getvalue(), len(some.rows) // 2
    if content.size > _LARGE and half:
        parts = (some._replace(rows=some.rows[:half]), some._replace(rows=some.rows[half:]))
        return [row for part in parts for row in rejected(events, part)]
    return [_row(events, some.rows.tolist(), some.reason, some.detail, content.to_pybytes())]


def read(batch: pa.RecordBatch) -> Iterator[DeadLetter]:
    """The letters among the events of a dead-letter topic."""
    for row in batch.to_pylist():
        content, rows = row.pop("content"), row.pop("rows")
        yield DeadLetter(
            **row,
            rows=pa.ipc.open_stream(content).read_next_batch() if rows else None,
            raw=None if rows else content,
        )


def _row(
    source: Events | Unreadable, rows: list[int], reason: str, detail: str, content: bytes
) -> dict[str, Any]:
    return {
        "topic": source.topic,
        "partition": source.partition,
        "offset": source.offset,
        "time_ms": source.time_ms,
        "rows": rows,
        "reason": reason,
        "detail": detail,
        "content": content,
    }
