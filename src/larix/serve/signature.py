"""What a request to a model holds: its columns by type, which are the request's and which the candidates'.

Knows a sample's declaration; knows nothing of networks, of files or of protocols.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from larix.errors import ConfigError, DataError, StorageError
from larix.features import Dense, Feature, Id, Sample
from larix.features import Sequence as Events
from larix.features.kernels import xxh3
from larix.serve import columns

FORMAT = 1
Counts = dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """The columns of a request.

    ``context``: those of the request itself, one row. ``candidates``: those of the items, a row each. ``item``: the
    candidates' column that names them. ``user``, ``scene``: the context's columns of who asks and from where, if there are
    any. ``time``: the context's column of when, milliseconds since the epoch; now if it is not given. ``optional``: columns
    that may be missing or null, which features have an answer to. ``per_request``: slots, dense values and sequences made of
    the context alone. ``shared``: columns of the context that the candidates' slots read, too. ``typed``: types by name, of the
    context's columns and of the candidates'.
    """

    context: pa.Schema
    candidates: pa.Schema
    item: str
    user: str | None = None
    scene: str | None = None
    time: str | None = None
    optional: frozenset[str] = frozenset()
    per_request: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    _plain: tuple[columns.Plain, columns.Plain] = field(init=False, repr=False, compare=False)
    typed: tuple[dict[str, pa.DataType], dict[str, pa.DataType]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        both = set(self.context.names) & set(self.candidates.names)
        if both:
            raise ConfigError(
                f"columns {sorted(both)} are the request's and the candidates'; each is of one of them"
            )
        for schema in (self.context, self.candidates):
            for dtype in schema.types:
                columns.type_of(columns.type_name(dtype))
        if self.item not in self.candidates.names or types.is_list(self.candidates.field(self.item).type):
            raise ConfigError(
                f"item '{self.item}' is no plain column of the candidates {self.candidates.names}"
            )
        for what, name in {"user": self.user, "scene": self.scene, "time": self.time}.items():
            if name is not None and name not in self.context.names:
                raise ConfigError(f"{what} '{name}' is no column of the context {self.context.names}")
        unknown = (self.optional | set(self.shared)) - {*self.context.names, *self.candidates.names}
        if unknown:
            raise ConfigError(f"there are no columns {sorted(unknown)}")
        for name, made in {"_plain": columns.Plain, "typed": columns.typed}.items():
            object.__setattr__(self, name, (made(self.context), made(self.candidates)))

    def context_of(self, values: Mapping[str, Any], now_ms: int) -> tuple[pa.RecordBatch, Counts]:
        """The context's one row, and which columns of it are null or not given.

        ``values``: by column; an Arrow array of one row is taken as it is. DataError names a column that is missing, unknown
        or of another type.
        """
        if not isinstance(values, Mapping):
            raise DataError(
                f"the context is a {type(values).__name__}; expected an object of values by column"
            )
        if not values.keys() <= self.typed[0].keys():
            raise self._unknown(values, self.context, "the context's")
        if self.time is not None and values.get(self.time) is None:
            values = {**values, self.time: now_ms}
        if (taken := self._plain[0](values, row=True)) is None:
            arrays = columns.row(values, self.typed[0])
            taken = _batch(dict(zip(self.typed[0], arrays, strict=True)), self.context)
        return self._checked(*taken, values)

    def candidates_of(
        self, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> tuple[pa.RecordBatch, Counts]:
        """The candidates' rows, and by column how many values are null or not given.

        ``values``: a list of objects, values by column; or, faster, lists by column: lists, numpy arrays (``[n, k]`` for
        lists that are all ``k`` long), Arrow arrays. DataError names column, row and what is expected.
        """
        if not isinstance(values, Mapping):
            values = self._by_column(values)
        typed = self.typed[1]
        if not values.keys() <= typed.keys():
            raise self._unknown(values, self.candidates, "the candidates'")
        if values.get(self.item) is None:
            raise DataError(f"column '{self.item}' is missing; it names the candidates")
        if (taken := self._plain[1](values, row=False)) is not None:
            return self._checked(*taken, values)
        found = {
            name: columns.column(name, values[name], dtype)
            for name, dtype in typed.items()
            if values.get(name) is not None
        }
        rows = len(found[self.item])
        for name, array in found.items():
            if len(array) != rows:
                raise DataError(
                    f"column '{name}' has {len(array)} rows but '{self.item}' has {rows}; give as many"
                )
        arrays = {
            name: pa.nulls(rows, dtype) if (array := found.get(name)) is None else array
            for name, dtype in typed.items()
        }
        return self._checked(*_batch(arrays, self.candidates), values)

    def context_in(
        self, json: bytes, spans: Sequence[columns.Span], now_ms: int
    ) -> tuple[pa.RecordBatch, Counts] | None:
        """As `context_of`, of all objects at ``spans`` of a text of JSON; None if that has to tell what is wrong with them."""
        return self._plainly(self._plain[0].row_of(json, spans, self.time, now_ms))

    def candidates_in(
        self, json: bytes, span: columns.Span, most: int
    ) -> tuple[pa.RecordBatch, Counts] | None:
        """As `candidates_of`, of what is at ``span`` of a text of JSON; None if that has to tell what is wrong with it.

        None, too, for more than ``most``.
        """
        return self._plainly(self._plain[1].rows_of(json, span, self.item, most))

    def tensors_in(
        self, body: bytes, inputs: columns.Span, data: int, *, most: int, now_ms: int
    ) -> tuple[pa.RecordBatch, pa.RecordBatch] | None:
        """The context and the candidates, at most ``most``, that binary tensors of the Open Inference Protocol hold.

        ``inputs``: where the body's JSON has the list of them, which lie one behind the other from ``data`` on. None if they are
        not plainly what they have to be: then each has to be looked at.
        """
        own, theirs = self._plain
        return self._both_plainly(
            own.with_tensors(
                theirs, body, inputs, data, item=self.item, most=most, time=self.time, now=now_ms
            )
        )

    def message_in(
        self, message: bytes, *, most: int, now_ms: int
    ) -> tuple[pa.RecordBatch, pa.RecordBatch] | None:
        """As `tensors_in`, of a ModelInferRequest of gRPC with raw contents."""
        own, theirs = self._plain
        return self._both_plainly(
            own.with_message(theirs, message, item=self.item, most=most, time=self.time, now=now_ms)
        )

    def beside(
        self, context: pa.RecordBatch, candidates: pa.RecordBatch, of: NDArray[np.int64] | None = None
    ) -> pa.RecordBatch:
        """What the candidates' half of the sample reads: the candidates, with what it reads of the context repeated.

        ``of``: each candidate's row of ``context``; the first unless given.
        """
        rows = pa.array(np.zeros(len(candidates), np.int64) if of is None else of)
        for name in self.shared:
            candidates = candidates.append_column(self.context.field(name), context.column(name).take(rows))
        return candidates

    def user_of(self, context: pa.RecordBatch) -> int:
        """Who asks, as one number: see ``Request.user``; 0 if no column tells."""
        value = None if self.user is None else context.column(self.user)[0].as_py()
        if isinstance(value, str | bytes):
            return xxh3(value.encode() if isinstance(value, str) else value)
        return 0 if value is None or not math.isfinite(value) else int(value)

    def halves(self, sample: Sample) -> tuple[Sample, Sample]:
        """The sample of the context, with the request's scene, and the one of the candidates: no tasks, no group.

        Together their slots are those of ``sample``, in order, over the same tables. Transformed by halves, records come out
        bit for bit as by the whole. ConfigError if either is without features.
        """
        parts: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        for name, feature in sample.features.items():
            parts[name not in self.per_request][name] = _on_its_table(name, feature, sample)
        if not all(parts):
            whose = "request" if parts[0] else "candidate"
            raise ConfigError(
                f"all features {list(sample.features)} are the {whose}'s; a ranker to be served needs both"
            )
        context = Sample(scene=self.scene, time=sample.time, **parts[0])
        return context, Sample(time=sample.time, **parts[1])

    def to_json(self) -> str:
        """As JSON text, which ``from_json`` gives an equal one of."""
        names = {key: getattr(self, key) for key in ("item", "user", "scene", "time")}
        lists = {key: list(getattr(self, key)) for key in ("per_request", "shared")}
        schemas = {
            key: {field.name: columns.type_name(field.type) for field in getattr(self, key)}
            for key in ("context", "candidates")
        }
        return json.dumps(
            {"format": FORMAT, **schemas, **names, "optional": sorted(self.optional), **lists}, indent=1
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What ``to_json`` gave. StorageError if it is something else."""
        try:
            given = json.loads(text)
            if given.pop("format") != FORMAT:
                raise StorageError(f"this signature is not of format {FORMAT}; export the bundle again")
            for key in ("context", "candidates"):
                given[key] = pa.schema([(name, columns.type_of(dtype)) for name, dtype in given[key].items()])
            given["optional"] = frozenset(given["optional"])
            given.update({key: tuple(given[key]) for key in ("per_request", "shared")})
            return cls(**given)
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            raise StorageError(f"this is no signature: {error!r}; export the bundle again") from error

    @staticmethod
    def _unknown(values: Iterable[str], schema: pa.Schema, whose: str) -> DataError:
        unknown = min(set(values) - set(schema.names), key=str)
        return DataError(f"there is no column '{unknown}'; {whose} columns are {', '.join(schema.names)}")

    def _by_column(self, values: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        if not isinstance(values, list | tuple):
            raise DataError(
                f"the candidates are a {type(values).__name__}; expected a list of objects or an object of lists"
            )
        if not set(map(type, values)) <= {dict}:
            row, wrong = next((row, each) for row, each in enumerate(values) if type(each) is not dict)
            raise DataError(
                f"candidate {row} is a {type(wrong).__name__}; expected an object of values by column"
            )
        names = set[str]().union(*values)
        if not names <= set(self.candidates.names):
            row = next(
                row for row, each in enumerate(values) if not each.keys() <= set(self.candidates.names)
            )
            unknown = sorted(values[row].keys() - set(self.candidates.names))
            raise DataError(
                f"candidate {row} has a column '{unknown[0]}'; the candidates' columns are {', '.join(self.candidates.names)}"
            )
        return {name: [each.get(name) for each in values] for name in names | {self.item}}

    def _plainly(self, taken: tuple[pa.RecordBatch, Counts] | None) -> tuple[pa.RecordBatch, Counts] | None:
        return taken if taken is not None and taken[1].keys() <= self.optional else None

    def _both_plainly(
        self, taken: tuple[columns.Filled, columns.Filled] | None
    ) -> tuple[pa.RecordBatch, pa.RecordBatch] | None:
        if taken is None or None in map(self._plainly, taken):
            return None
        return taken[0][0], taken[1][0]

    def _checked(
        self, batch: pa.RecordBatch, missing: Counts, given: Mapping[str, Any]
    ) -> tuple[pa.RecordBatch, Counts]:
        """DataError if a column that must be there is null somewhere."""
        for name in missing.keys() - self.optional:
            array = batch.column(name)
            expected = columns.type_name(array.type)
            if name not in given:
                raise DataError(f"column '{name}' is missing; expected {expected}")
            at = f" row {columns.first_null(array)}" if name in self.typed[1] else ""
            raise DataError(f"column '{name}'{at} is null; expected {expected}")
        return batch, missing


def _batch(arrays: dict[str, pa.Array], schema: pa.Schema) -> tuple[pa.RecordBatch, Counts]:
    missing = {name: count for name, array in arrays.items() if (count := array.null_count)}
    return pa.RecordBatch.from_arrays(list(arrays.values()), schema=schema), missing


def signature_of(sample: Sample, logged: pa.Schema, *, item: str, candidates: Collection[str]) -> Signature:
    """The signature of a model of ``sample``.

    ``logged``: of the samples it was trained on, which tells types. ``item``: the column that names candidates.
    ``candidates``: the columns that are the items'; all others are the request's. ConfigError if they are not the sample's.
    """
    read = [name for name in sample.columns if name not in sample.label_columns]
    unknown = sorted({item, *candidates} - set(read))
    if unknown:
        raise ConfigError(f"columns {unknown} are said to be the items', but the sample reads only {read}")
    missing = sorted(set(read) - set(logged.names))
    if missing:
        raise ConfigError(f"the logged samples have no columns {missing}, which the sample reads")
    theirs = {item, *candidates}
    typed = {name: columns.served_type(name, logged.field(name).type) for name in read}
    context = pa.schema([(name, typed[name]) for name in read if name not in theirs])

    def in_context(name: str | None) -> str | None:
        return name if name in context.names else None

    user, scene, time = in_context(sample.group), in_context(sample.scene), in_context(sample.time)
    reads = {name: _reads(feature, sample.time) for name, feature in sample.features.items()}
    by_candidate = {column for each in reads.values() if each & theirs for column in each}
    fixed = {item, user, scene, time} | {
        feature.column
        for feature in sample.features.values()
        if isinstance(feature, Dense) and feature.missing == "error"
    }
    return Signature(
        context=context,
        candidates=pa.schema([(name, typed[name]) for name in read if name in theirs]),
        item=item,
        user=user,
        scene=scene,
        time=time,
        optional=frozenset(set(read) - fixed),
        per_request=tuple(name for name, each in reads.items() if not each & theirs),
        shared=tuple(name for name in context.names if name in by_candidate),
    )


def _reads(feature: Feature, time: str | None) -> set[str]:
    ages = isinstance(feature, Events) and feature.needs_time and time is not None
    return {*feature.columns, *([time] if ages and time else [])}


def _on_its_table(name: str, feature: Feature, sample: Sample) -> Feature:
    """The feature saying itself what another may have said of its table."""
    if isinstance(feature, Dense):
        return feature
    if isinstance(feature, Events):
        slots = sample.sequences[name].ids
        elements = {
            each: replace(element, table=slots[each].table, dim=slots[each].dim)
            if isinstance(element, Id)
            else element
            for each, element in feature.elements.items()
        }
        return Events(newest=feature.newest, **elements)
    return replace(feature, table=sample.id_slots[name].table, dim=sample.id_slots[name].dim)
