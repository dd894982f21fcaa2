"""A record batch as the payload of one message, in Arrow, Avro or JSON, and back. Knows nothing of Kafka.

Headers say which: ``larix-format``, and ``larix-schema``, the first 16 hex digits of the SHA-256 of the schema. Where the
payload does not hold all of it, ``larix-arrow-schema`` does, as Arrow serializes it, in base64.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, get_args

import pyarrow as pa

from larix.data.log import avro, values
from larix.data.log.frame import plain
from larix.errors import ConfigError, DataError

Format = Literal["arrow", "avro", "json"]

FORMAT, SCHEMA, ARROW_SCHEMA = "larix-format", "larix-schema", "larix-arrow-schema"

_SCHEMA_BYTES = 8192  # a header goes with every message: of a larger schema it is the digest alone


def encode(events: pa.RecordBatch, kind: Format) -> tuple[bytes, dict[str, str]]:
    """The payload (an Arrow stream, an Avro file, or a JSON array of objects) and its headers.

    Raises:
        ConfigError: the format is none, or has no word for a column's values.
    """
    if kind not in get_args(Format):
        raise ConfigError(f"payloads are {', '.join(get_args(Format))}; '{kind}' is none of them")
    events = plain(events)
    schema = events.schema.serialize().to_pybytes()
    headers = {FORMAT: kind, SCHEMA: _digest(schema)}
    if kind != "arrow" and len(schema) <= _SCHEMA_BYTES:
        headers[ARROW_SCHEMA] = base64.b64encode(schema).decode()
    if kind == "json":
        return _to_json(events), headers
    if kind == "avro":
        return avro.encode(events), headers
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, events.schema) as stream:
        stream.write_batch(events)
    return sink.getvalue().to_pybytes(), headers


def decode(raw: bytes, headers: Mapping[str, str], otherwise: Format) -> pa.RecordBatch:
    """The rows of a payload; one without a header is taken for ``otherwise``.

    JSON may be an object, an array of objects, or an object a line; keys become columns, and where an object lacks one, null.
    Columns of JSON and Avro have the types that the header tells, if all their values fit; else the values' own. A header
    that is damaged tells nothing.

    Raises:
        DataError: it holds no rows.
        ConfigError: it is Avro, and fastavro is not installed.
    """
    kind = headers.get(FORMAT, otherwise)
    if kind == "arrow":
        return _from_arrow(raw)
    if kind == "json":
        return _from_json(raw, _told(headers))
    if kind == "avro":
        return avro.decode(raw, _told(headers))
    raise DataError(f"format '{kind[:40]}' is unknown")


def _digest(schema: bytes) -> str:
    return hashlib.sha256(schema).hexdigest()[:16]


def _told(headers: Mapping[str, str]) -> dict[str, pa.DataType]:
    """The types of columns by name, as the header tells; none if it is not as its digest says."""
    try:
        schema = base64.b64decode(headers.get(ARROW_SCHEMA, ""), validate=True)
        if not schema or _digest(schema) != headers.get(SCHEMA):
            return {}
        return {field.name: field.type for field in pa.ipc.read_schema(pa.py_buffer(schema))}
    except (pa.ArrowException, OSError, ValueError):
        return {}


def _from_arrow(raw: bytes) -> pa.RecordBatch:
    try:
        table = pa.ipc.open_stream(raw).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DataError("no Arrow stream") from error
    if table.num_rows > values.MOST:  # rows of nulls take no bytes, and as other columns they would
        raise DataError(f"an Arrow stream of more than {values.MOST:,} rows")
    if not table.num_rows:
        return pa.RecordBatch.from_pylist([], schema=table.schema)
    (batch,) = table.combine_chunks().to_batches()
    return batch


def _to_json(events: pa.RecordBatch) -> bytes:
    try:
        return json.dumps(events.to_pylist(), allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"JSON has no word for a value of {events.schema.names}: {error}; use Arrow"
        ) from error


def _from_json(raw: bytes, told: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    try:
        rows = _objects(raw.decode())
    except (ValueError, RecursionError) as error:
        raise DataError("no JSON") from error
    if not all(isinstance(row, dict) for row in rows):
        raise DataError("JSON that is no object")
    names = list(dict.fromkeys(name for row in rows for name in row)) if rows else list(told)
    if rows and not names:
        raise DataError("JSON without a column")
    size = len(rows) * len(names)
    columns = {} if size > values.MOST else {name: [row.get(name) for row in rows] for name in names}
    if size > values.MOST or sum(map(values.grown, columns.values())) > values.MOST:
        raise DataError(
            f"JSON of more than {values.MOST:,} values, nulls where an object lacks a key included"
        )
    return pa.record_batch(
        {values.text(name): _column(found, told.get(name)) for name, found in columns.items()}
    )


def _objects(text: str) -> list[Any]:
    try:
        said = json.loads(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        return [json.loads(line) for line in lines]
    return said if isinstance(said, list) else [said]


def _column(found: list[Any], kind: pa.DataType | None) -> pa.Array:
    fitting = None if kind is None else values.typed(found, kind)
    return values.column(found) if fitting is None else fitting
