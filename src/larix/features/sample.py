"""Sample: the one declaration of what a sample is, used by training and serving alike.

Knows no files, tables or networks.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from larix.batch import Batch
from larix.errors import ConfigError
from larix.features import serial
from larix.features.bucket import Bucket
from larix.features.dense import Dense
from larix.features.fit import fit
from larix.features.ids import Cross, Id, Ids
from larix.features.label import Binary, Seconds, Task
from larix.features.packed import Packed
from larix.features.planned import Plans
from larix.features.sequence import Sequence, SequenceSlots
from larix.features.slot import IdSlot, check_column
from larix.features.timepart import Hour, Weekday
from larix.features.transform import transform

IdFeature = Id | Ids | Cross | Bucket | Hour | Weekday
Feature = IdFeature | Dense | Sequence


class Sample:
    """What one sample is: features by slot name, tasks, and the columns that hold its keys. Immutable.

    ``group``: the key of grouped metrics (usually the user); ``scene``: the key of per-scene metrics;
    ``time``: milliseconds since the epoch or timestamps, needed by LogAge; ``weight``: the sample weight.
    Each is a column name or None.

    Raises ConfigError on a declaration that contradicts itself.
    """

    __slots__ = (
        "_plans",
        "columns",
        "dense",
        "features",
        "group",
        "id_slots",
        "label_columns",
        "scene",
        "sequences",
        "tables",
        "tasks",
        "time",
        "unfitted",
        "weight",
    )

    features: Mapping[str, Feature]
    """Every feature as declared, in order."""
    id_slots: Mapping[str, IdSlot]
    """Slots of ``Batch.ids``, in declared order."""
    sequences: Mapping[str, SequenceSlots]
    """Slots of ``Batch.sequences``, in declared order."""
    dense: tuple[str, ...]
    """Names of the columns of ``Batch.dense``."""
    tables: Mapping[str, int]
    """Every table with its dim."""
    tasks: tuple[Task, ...]
    columns: tuple[str, ...]
    """Every input column it reads, labels included."""
    label_columns: tuple[str, ...]
    """Those of ``columns`` that serving does without: read for labels, weight, rate, group or time only."""
    unfitted: tuple[str, ...]
    """Names of the features that ``fit`` has still to see data for."""
    group: str | None
    scene: str | None
    time: str | None
    weight: str | None
    _plans: Plans

    def __init__(
        self,
        *,
        tasks: Iterable[Task] = (),
        group: str | None = None,
        scene: str | None = None,
        time: str | None = None,
        weight: str | None = None,
        **features: Feature,
    ) -> None:
        tasks = tuple(tasks)
        keys = {"group": group, "scene": scene, "time": time, "weight": weight}
        _check(features, tasks, keys)
        tables = _tables(features)
        slots: dict[str, IdSlot] = {}
        sequences: dict[str, SequenceSlots] = {}
        for name, feature in features.items():
            if isinstance(feature, IdFeature):
                table = feature.table or name
                slots[name] = IdSlot(name=name, table=table, dim=tables[table], pool=feature.pool)
            elif isinstance(feature, Sequence):
                sequences[name] = _sequence_slots(name, feature, tables)
        read = [column for feature in features.values() for column in feature.columns]
        if time is not None and any(isinstance(f, Sequence) and f.needs_time for f in features.values()):
            read.append(time)
        if scene is not None:
            read.append(scene)
        extra = [key for key in (time, group, weight) if key is not None] + [task.column for task in tasks]
        extra += [task.rate for task in tasks if isinstance(task, Binary) and task.rate]
        columns = tuple(dict.fromkeys(read + extra))
        for key, value in {
            "features": MappingProxyType(dict(features)),
            "id_slots": MappingProxyType(slots),
            "sequences": MappingProxyType(sequences),
            "dense": tuple(name for name, feature in features.items() if isinstance(feature, Dense)),
            "tables": MappingProxyType(tables),
            "tasks": tasks,
            "unfitted": tuple(
                name
                for name, feature in features.items()
                if isinstance(feature, Bucket | Dense | Sequence) and not feature.is_fitted
            ),
            "_plans": Plans(),
            "columns": columns,
            "label_columns": tuple(column for column in columns if column not in read),
            **keys,
        }.items():
            object.__setattr__(self, key, value)

    @property
    def is_fitted(self) -> bool:
        """Whether every edge, mean and std that ``transform`` needs is known."""
        return not self.unfitted

    def transform(self, batch: pa.RecordBatch, labels: bool = True, *, threads: int = 1) -> Batch:
        """``features.transform(self, batch, labels, threads=threads)``."""
        return transform(self, batch, labels, threads=threads)

    def packed(self, batch: pa.RecordBatch) -> Packed | None:
        """``transform(batch, labels=False)`` side by side, for a lookup in one go; None where it has to be read with care."""
        return None if self.unfitted else self._plans.read(self, batch)

    def fit(self, batches: Iterable[pa.RecordBatch]) -> "Sample":
        """The sample with every quantile edge, mean and std found on ``batches``; see ``features.fit``."""
        return Sample(**(self._arguments() | dict(fit(self.features, batches))))

    def to_json(self) -> str:
        """The declaration with its fitted state as JSON text; ``from_json`` gives an equal sample back."""
        keys = {key: getattr(self, key) for key in serial.KEYS}
        return serial.write({"features": self.features, "tasks": self.tasks} | keys)

    @classmethod
    def from_json(cls, text: str) -> "Sample":
        """The sample that ``to_json`` wrote. Raises ConfigError on any other text, unknown keys included."""
        arguments = serial.read(text)
        features = arguments.pop("features")
        reserved = sorted(set(features) & set(arguments))
        if reserved:
            raise ConfigError(f"features may not be named {reserved}: those words are arguments of Sample")
        return cls(**arguments, **features)

    def _arguments(self) -> dict[str, Any]:
        keys = {key: getattr(self, key) for key in serial.KEYS}
        return {"tasks": self.tasks} | keys | dict(self.features)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Sample does not change; make a new one to set {name}")

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Sample.from_json, (self.to_json(),)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sample):
            return NotImplemented
        return list(self._arguments().items()) == list(other._arguments().items())

    def __hash__(self) -> int:
        return hash(tuple(self._arguments().items()))

    def __repr__(self) -> str:
        return "Sample(" + ", ".join(f"{key}={value!r}" for key, value in self._arguments().items()) + ")"


def _check(features: Mapping[str, object], tasks: tuple[object, ...], keys: Mapping[str, object]) -> None:
    for key, column in keys.items():
        if isinstance(column, Feature):
            raise ConfigError(
                f"{key}= is the name of the column that holds the {key}; give this feature another name"
            )
        if column is not None:
            check_column(Sample, column)
    if not features:
        raise ConfigError("a Sample needs at least one feature, for example user=Id('user_id', dim=16)")
    for name, feature in features.items():
        if not name.isidentifier():
            raise ConfigError(f"a feature is named '{name}'; use a name that is a Python identifier")
        if not isinstance(feature, Feature):
            raise ConfigError(
                f"feature '{name}' is {feature!r}; use Id, Ids, Dense, Sequence or another feature"
            )
        if keys["time"] is None and isinstance(feature, Sequence) and feature.needs_time:
            raise ConfigError(
                f"sequence '{name}' has a LogAge, which needs the sample's time; give time='...' to Sample"
            )
    seen: set[str] = set()
    for task in tasks:
        if not isinstance(task, Binary | Seconds):
            raise ConfigError(f"a task is {task!r}; use Binary or Seconds")
        if task.name in seen:
            raise ConfigError(f"two tasks are named '{task.name}'; give one another name with name='...'")
        seen.add(task.name)
    if len(rates := [task.name for task in tasks if isinstance(task, Binary) and task.rate]) > 1:
        raise ConfigError(f"tasks {rates} each have a rate; negatives can be down-sampled by one task only")


def _id_users(features: Mapping[str, Feature]) -> Iterable[tuple[str, IdFeature]]:
    """Every id feature and id element with its full slot name."""
    for name, feature in features.items():
        if isinstance(feature, IdFeature):
            yield name, feature
        elif isinstance(feature, Sequence):
            for element, value in feature.elements.items():
                if isinstance(value, Id):
                    yield f"{name}.{element}", value


def _tables(features: Mapping[str, Feature]) -> dict[str, int]:
    """Dim of every table, in the order of first use."""
    dims: dict[str, tuple[int, str]] = {}
    for slot, feature in _id_users(features):
        if feature.dim is not None:
            dim, first = dims.setdefault(feature.table or slot, (feature.dim, slot))
            if dim != feature.dim:
                table = feature.table or slot
                raise ConfigError(
                    f"table '{table}' has dim {dim} by '{first}' but '{slot}' asks for {feature.dim}; "
                    f"give both one dim, or '{slot}' a table of its own"
                )
    tables: dict[str, int] = {}
    for slot, feature in _id_users(features):
        table = feature.table or slot
        if table not in dims:
            raise ConfigError(
                f"'{slot}' uses table '{table}' but nothing says its dim; declare a feature of it that does, "
                f"or give this one its own: {type(feature).__name__}('{feature.columns[0]}', dim=16)"
            )
        tables[table] = dims[table][0]
    return tables


def _sequence_slots(name: str, sequence: Sequence, tables: Mapping[str, int]) -> SequenceSlots:
    ids: dict[str, IdSlot] = {}
    for element, value in sequence.elements.items():
        if isinstance(value, Id):
            slot = f"{name}.{element}"
            table = value.table or slot
            ids[element] = IdSlot(name=slot, table=table, dim=tables[table], pool="sequence")
    dense = tuple(element for element, value in sequence.elements.items() if not isinstance(value, Id))
    return SequenceSlots(ids=MappingProxyType(ids), dense=dense, newest=sequence.newest)
