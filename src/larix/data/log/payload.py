"""A record batch as the payload of one message, in Arrow or JSON, and back. Knows nothing of Kafka.

Headers say which: ``larix-format``, and ``larix-schema``, the first 16 hex digits of the SHA-256 of the schema.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from larix.data.log.frame import plain
from larix.errors import ConfigError, DataError

Format = Literal["arrow", "json"]

FORMAT, SCHEMA = "larix-format", "larix-schema"


def encode(events: pa.RecordBatch, kind: Format) -> tuple[bytes, dict[str, str]]:
    """The payload (an Arrow stream, or a JSON array of objects) and its headers.

    Raises:
        ConfigError: JSON has no word for a column's values.
    """
    events = plain(events)
    digest = hashlib.sha256(events.schema.serialize().to_pybytes()).hexdigest()
    headers = {FORMAT: kind, SCHEMA: digest[:16]}
    if kind == "json":
        return _to_json(events), headers
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, events.schema) as stream:
        stream.write_batch(events)
    return sink.getvalue().to_pybytes(), headers


def decode(raw: bytes, headers: Mapping[str, str], otherwise: Format) -> pa.RecordBatch:
    """The rows of a payload; one without a header is taken for ``otherwise``.

    JSON may be an object, an array of objects, or an object a line; keys become columns, and where an object lacks one, null.

    Raises:
        DataError: it holds no rows.
    """
    kind = headers.get(FORMAT, otherwise)
    if kind == "arrow":
        return _from_arrow(raw)
    if kind == "json":
        return _from_json(raw)
    raise DataError(f"format '{kind[:40]}' is unknown")


def _from_arrow(raw: bytes) -> pa.RecordBatch:
    try:
        table = pa.ipc.open_stream(raw).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DataError("no Arrow stream") from error
    if not table.num_rows:
        return pa.RecordBatch.from_pylist([], schema=table.schema)
    (batch,) = table.combine_chunks().to_batches()
    return batch


def _to_json(events: pa.RecordBatch) -> bytes:
    try:
        return json.dumps(events.to_pylist(), allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"JSON has no word for a value of {events.schema.names}: {error}; use Arrow"
        ) from error


def _from_json(raw: bytes) -> pa.RecordBatch:
    try:
        rows = _objects(raw.decode())
    except (ValueError, RecursionError) as error:
        raise DataError("no JSON") from error
    if not all(isinstance(row, dict) for row in rows):
        raise DataError("JSON that is no object")
    names = list(dict.fromkeys(name for row in rows for name in row))
    if rows and not names:
        raise DataError("JSON without a column")
    return pa.record_batch({_text(name): _column([row.get(name) for row in rows]) for name in names})


def _objects(text: str) -> list[Any]:
    try:
        said = json.loads(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        return [json.loads(line) for line in lines]
    return said if isinstance(said, list) else [said]


def _column(values: Sequence[Any]) -> pa.Array:
    """The values as Arrow sees them; as text, where they are of several kinds, so that each may be cast on its own."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeError):
        return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()
