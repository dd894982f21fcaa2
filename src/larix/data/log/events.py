"""What a consumer is handed: the rows of one append, or a message that is none. Knows nothing of where they lie."""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Rows of one append, in order; ``offset`` and ``time_ms`` (when appended) are the log's, not the events'."""

    topic: str
    partition: int
    offset: int  # of the first row; in Kafka, of the message
    time_ms: int
    rows: pa.RecordBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A message that holds no rows, and why not."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    raw: bytes
    reason: str
