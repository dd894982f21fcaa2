"""Logged samples as requests, with what the trained network said of them: to warm a server up and to compare it with training.

Knows nothing of networks or of bundles.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from larix.batch import Floats
from larix.errors import StorageError
from larix.serve import columns
from larix.serve.signature import Signature

_LOGITS = "logits"


@dataclass(frozen=True, slots=True, eq=False)
class Warm:
    """``n`` requests: request r is of the context of logged sample r, for the items of the samples from r on, ``k`` of them.

    ``records``: ``n`` samples as they were logged, without labels; after the last comes the first again. ``logits``: float32
    ``[n, k, tasks]``, what the trained network says in its own code.
    """

    records: pa.RecordBatch
    logits: Floats

    def __post_init__(self) -> None:
        assert len(self.logits) == len(self.records), "as many requests as samples"

    @property
    def candidates(self) -> int:
        """Candidates of a request."""
        return int(self.logits.shape[1])

    def requests(self, signature: Signature) -> Iterator[tuple[dict[str, Any], dict[str, list[Any]]]]:
        """By request its context and its candidates by column, as they come out of JSON."""
        whole = crossed(self.records, signature, self.candidates)
        context, candidates = (
            _through_json(whole, schema) for schema in (signature.context, signature.candidates)
        )
        for start in range(0, len(whole), self.candidates):
            rows = slice(start, start + self.candidates)
            yield (
                {name: values[start] for name, values in context.items()},
                {name: values[rows] for name, values in candidates.items()},
            )

    def to_bytes(self) -> bytes:
        """As an Arrow file, which ``from_bytes`` reads."""
        _, candidates, tasks = self.logits.shape
        flat = pa.FixedSizeListArray.from_arrays(pa.array(self.logits.reshape(-1)), candidates * tasks)
        told = self.records.append_column(_LOGITS, flat)
        told = told.replace_schema_metadata({"candidates": str(candidates), "tasks": str(tasks)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, told.schema) as writer:
            writer.write_batch(told)
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, content: bytes) -> "Warm":
        """What ``to_bytes`` gave; StorageError if it is something else."""
        try:
            told = pa.ipc.open_file(pa.BufferReader(content)).get_batch(0)
            shape = tuple(int(told.schema.metadata[key]) for key in (b"candidates", b"tasks"))
            *logged, logits = told.columns
            values = logits.values.to_numpy().reshape(len(told), *shape)
            records = pa.RecordBatch.from_arrays(logged, names=told.schema.names[:-1])
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"these are no warm-up samples: {error}; export the bundle again") from error
        return cls(records, values)


def crossed(records: pa.RecordBatch, signature: Signature, candidates: int) -> pa.RecordBatch:
    """The samples of ``Warm``'s requests, ``[n * candidates]``, as they would have been logged."""
    count = len(records)
    asked = np.repeat(np.arange(count), candidates)
    shown = (asked + np.tile(np.arange(candidates), count)) % max(count, 1)
    theirs = set(signature.candidates.names)
    arrays = [
        records.column(name).take(pa.array(shown if name in theirs else asked))
        for name in records.schema.names
    ]
    return pa.RecordBatch.from_arrays(arrays, names=records.schema.names)


def _through_json(records: pa.RecordBatch, schema: pa.Schema) -> dict[str, list[Any]]:
    """Columns as a client would bring them. What is binary comes by tensors only, and stays as it is."""
    found: dict[str, list[Any]] = {}
    for field in schema:
        values = columns.as_served(records.column(field.name), field.type).to_pylist()
        plain = field.type.value_type if types.is_list(field.type) else field.type
        found[field.name] = values if types.is_binary(plain) else json.loads(json.dumps(values))
    return found
