"""transform: an Arrow record batch to a Batch, pure, the same in training and in serving.

Knows the order of things; what a feature is and how it reads its columns is in the feature's own file.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from larix.batch import Batch, History, Jagged
from larix.errors import ConfigError
from larix.features.dense import Dense
from larix.features.label import rate_column, read_key, read_labels, read_rate, read_weight
from larix.features.records import Records
from larix.features.sequence import Sequence

if TYPE_CHECKING:
    from larix.features.sample import Sample


def transform(sample: "Sample", batch: pa.RecordBatch, labels: bool = True, *, threads: int = 1) -> Batch:
    """``batch`` as ``sample`` declares it. The result owns its memory. Columns the sample does not name are
    ignored.

    ``labels=False`` is for serving: labels, weight, group and time are neither read nor given (a scene is),
    so that ``sample.label_columns`` may be absent. ``threads``: how many read a large batch's columns; any
    number gives the same bytes. ``missing`` of the result counts the values that were not there, for every id
    slot, dense name and ``sequence.element`` of numbers.

    Raises DataError naming column and row on data that is not as declared, ConfigError on a sample that is
    not fitted.
    """
    if sample.unfitted:
        names = ", ".join(f"'{name}'" for name in sample.unfitted)
        raise ConfigError(f"{names} must be fitted before a transform; call sample = sample.fit(batches)")
    if threads < 1:
        raise ConfigError(f"threads is {threads}; it must be at least 1")
    records = Records(batch)
    if not labels and threads == 1 and (found := sample._plans.read(sample, batch)) is not None:
        return found.batch()
    ages = any(isinstance(feature, Sequence) and feature.needs_time for feature in sample.features.values())
    time = records.times(sample.time) if sample.time is not None and (labels or ages) else None

    # First find and check every column, then read them all in one native call, then look at how that went.
    slots: dict[str, Callable[[], tuple[Jagged, int]]] = {}
    histories: dict[str, Callable[[], tuple[History, dict[str, int]]]] = {}
    numbers: dict[str, Callable[[], int]] = {}
    dense = np.empty((records.size, len(sample.dense)), np.float32)
    for name, feature in sample.features.items():
        if isinstance(feature, Sequence):
            histories[name] = feature.read(records, time)
        elif isinstance(feature, Dense):
            numbers[name] = feature.read(records, dense, len(numbers))
        else:
            slots[name] = feature.read(records)
    group = read_key(sample.group, records, "group") if labels and sample.group is not None else None
    scene = read_key(sample.scene, records, "scene") if sample.scene is not None else None
    records.reads.run(threads)

    rate = rate_column(sample.tasks) if labels else ""
    ids: dict[str, Jagged] = {}
    sequences: dict[str, History] = {}
    missing: dict[str, int] = {}
    for name, slot in slots.items():
        ids[name], missing[name] = slot()
    for name, number in numbers.items():
        missing[name] = number()
    for name, history in histories.items():
        sequences[name], absent = history()
        missing |= {f"{name}.{element}": count for element, count in absent.items()}
    return Batch(
        size=records.size,
        ids=ids,
        sequences=sequences,
        dense=dense,
        labels=read_labels(sample.tasks, records) if labels and sample.tasks else None,
        weight=read_weight(sample.weight, records) if labels and sample.weight is not None else None,
        rate=read_rate(rate, records) if rate else None,
        group=None if group is None else group(),
        scene=None if scene is None else scene(),
        time=time if labels else None,
        missing=missing,
    )
