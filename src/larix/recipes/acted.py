"""Where a server's feedback goes: a topic of an event log, whose columns are told by what is in it. Knows no protocol."""

import pyarrow as pa

from larix.data.log import EventLog, Offsets
from larix.errors import ConfigError
from larix.serve.feedback import Feedback, FeedbackSettings

EVENT, TIME = "event_id", "time_ms"


def feedback_to(log: EventLog, topic: str, settings: FeedbackSettings | None = None) -> Feedback:
    """What appends actions to ``topic`` of ``log``; a row is answered for when it is on disk.

    Columns are those of the newest events there. ``time_ms`` is now and ``event_id`` is made where they are not given, if there
    are such columns. ConfigError if there is no such topic, or nothing in it yet.
    """
    schema = _schema(log, topic)
    return Feedback(
        lambda rows: log.append(topic, rows),
        schema,
        settings,
        time=_of(schema, TIME, pa.int64()),
        event_id=_of(schema, EVENT, pa.string()),
    )


def _schema(log: EventLog, topic: str) -> pa.Schema:
    oldest, newest = log.oldest(topic).next, log.newest(topic).next
    last = {partition: max(oldest[partition], end - 1) for partition, end in newest.items()}
    if last == newest:
        raise ConfigError(
            f"topic '{topic}' is empty, and its events tell the columns of feedback; append some first"
        )
    with log.consumer(topic, start=Offsets(log=log.id, topic=topic, next=last)) as consumer:
        found = [events.rows.schema for events in consumer.drain()]
    schema: pa.Schema = found[-1]
    return schema


def _of(schema: pa.Schema, name: str, kind: pa.DataType) -> str | None:
    return name if name in schema.names and schema.field(name).type == kind else None
