"""transform: an Arrow record batch to a Batch, pure, the same in training and in serving.

Knows the order of things; what a feature is and how it reads its columns is in the feature's own file.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa

from larix.batch import Batch, Floats, History, Ids, Jagged
from larix.errors import ConfigError
from larix.features import ids
from larix.features.dense import Dense
from larix.features.label import read_key, read_labels, read_time, read_weight
from larix.features.records import Records
from larix.features.sequence import Opened, Sequence

if TYPE_CHECKING:
    from larix.features.sample import Sample

T = TypeVar("T")
P = ParamSpec("P")
_Sequence = tuple[Opened, dict[str, Callable[[], Ids]], Callable[[], tuple[Floats, dict[str, int]]]]


def transform(
    sample: "Sample", batch: pa.RecordBatch, labels: bool = True, *, pool: Executor | None = None
) -> Batch:
    """``batch`` as ``sample`` declares it. The result owns its memory. Columns the sample does not name are
    ignored.

    ``labels=False`` is for serving: labels, weight, group and time are neither read nor given (a scene is),
    so that ``sample.label_columns`` may be absent. ``pool``: threads that read the list columns while the
    caller reads the rest; worth it from some thousand rows on. ``missing`` of the result counts the values
    that were not there, for every id slot, dense name and ``sequence.element`` number.

    Raises DataError naming column and row on data that is not as declared, ConfigError on a sample that is
    not fitted.
    """
    if sample.unfitted:
        names = ", ".join(f"'{name}'" for name in sample.unfitted)
        raise ConfigError(
            f"{names} must be fitted before a transform; use sample = sample.fit(record_batches)"
        )
    records = Records(batch)
    ages = any(isinstance(feature, Sequence) and feature.needs_time for feature in sample.features.values())
    time = read_time(sample.time, records) if sample.time is not None and (labels or ages) else None

    # Lists hold most of the bytes: they go to the pool first, and the caller reads the rest meanwhile.
    slots: dict[str, Callable[[], tuple[Jagged, int]]] = {}
    sequences: dict[str, _Sequence] = {}
    for name, feature in sample.features.items():
        if isinstance(feature, Sequence):
            opened = feature.open(records)
            elements = {e: _start(pool, feature.read_ids, opened, e) for e in sample.sequences[name].ids}
            sequences[name] = opened, elements, _start(pool, feature.read_dense, opened, time)
        elif isinstance(feature, ids.Ids):
            slots[name] = _start(pool, feature.read, records)

    missing: dict[str, int] = {}
    dense = np.empty((records.size, len(sample.dense)), np.float32)
    for name, feature in sample.features.items():
        if isinstance(feature, Dense):
            missing[name] = feature.read(records, dense, sample.dense.index(name))
        elif not isinstance(feature, Sequence | ids.Ids):
            slots[name] = _start(None, feature.read, records)
    label_values = read_labels(sample.tasks, records) if labels and sample.tasks else None
    weight = read_weight(sample.weight, records) if labels and sample.weight is not None else None
    group = read_key(sample.group, records, "group") if labels and sample.group is not None else None
    scene = read_key(sample.scene, records, "scene") if sample.scene is not None else None

    jagged: dict[str, Jagged] = {}
    for name in sample.id_slots:
        jagged[name], missing[name] = slots[name]()
    histories: dict[str, History] = {}
    for name, (opened, elements, read_dense) in sequences.items():
        numbers, absent = read_dense()
        histories[name] = History(opened.offsets, {e: read() for e, read in elements.items()}, numbers)
        missing |= {f"{name}.{element}": count for element, count in absent.items()}
    return Batch(
        size=records.size,
        ids=jagged,
        sequences=histories,
        dense=dense,
        labels=label_values,
        weight=weight,
        group=group,
        scene=scene,
        time=time if labels else None,
        missing=missing,
    )


def _start(pool: Executor | None, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Callable[[], T]:
    """Begin ``read`` in the pool, or do it now where there is none; what it returns gives the result."""
    if pool is not None:
        return pool.submit(read, *args, **kwargs).result
    done = read(*args, **kwargs)
    return lambda: done
