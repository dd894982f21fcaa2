"""Where a server's feedback goes: a topic of an event log, whose columns are told by what is in it. Knows no protocol."""

import pyarrow as pa

from larix.data.keyed import partitions
from larix.data.log import EventLog, Offsets
from larix.errors import ConfigError, DataError
from larix.serve.feedback import Feedback, FeedbackSettings

EVENT, TIME = "event_id", "time_ms"


def feedback_to(
    log: EventLog, topic: str, settings: FeedbackSettings | None = None, *, keyed: str | None = None
) -> Feedback:
    """What appends actions to ``topic`` of ``log``; a row is answered for when it is on disk.

    Columns are those of the newest events there. ``time_ms`` is now and ``event_id`` is made where they are not given, if there
    are such columns. ``keyed``: the column, such as the user's, whose value says which partition an action goes to, as
    `larix.data.keyed` has it. ConfigError if there is no such topic, nothing in it yet, or several partitions and no
    ``keyed``: were all to go to one, time would stand still in the others, and with it the join.
    """
    schema = _schema(log, topic)
    count = log.topics()[topic]
    if keyed is not None:
        _check_key(schema, keyed)
    elif count > 1:
        raise ConfigError(
            f"topic '{topic}' has {count} partitions; say by which column feedback is keyed (--keyed), such as the user's; "
            f"there are {', '.join(schema.names)}"
        )
    return Feedback(
        lambda rows, partition: log.append(topic, rows, partition=partition),
        schema,
        settings,
        partitions=None if keyed is None else lambda rows: partitions(rows[keyed], count),
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


def _check_key(schema: pa.Schema, keyed: str) -> None:
    if keyed not in schema.names:
        raise ConfigError(f"feedback is to be keyed by '{keyed}', but actions have {', '.join(schema.names)}")
    try:
        partitions(pa.nulls(0, schema.field(keyed).type), 1)
    except DataError as error:
        raise ConfigError(str(error)) from error


def _of(schema: pa.Schema, name: str, kind: pa.DataType) -> str | None:
    return name if name in schema.names and schema.field(name).type == kind else None
