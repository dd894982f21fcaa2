"""The table of samples: the columns of impressions, then labels and what else a trainer must know. Joins nothing."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from larix.data.join.carried import Carried
from larix.data.join.digest import first_words
from larix.data.join.spec import CORRECTION, RATE, READY, Downsample, JoinSpec

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


def table(
    spec: JoinSpec,
    carried: Carried,
    rows: pa.RecordBatch | None,
    *,
    labels: NDArray[np.float64],
    known: Mask | None,
    ready: Ints,
    correction: Mask,
) -> pa.Table:
    """Samples, in the order of ``rows``.

    Args:
        spec: which columns there are.
        carried: the columns of impressions.
        rows: those columns; None: no rows.
        labels: (samples, labels).
        known: which labels are, (samples, labels); the others are null. None: all.
        ready: when each became final.
        correction: which samples are corrections.
    """
    columns: dict[str, pa.Array] = {}
    for name, kind in carried.types.items():
        if name not in spec.made:
            columns[name] = pa.nulls(0, kind) if rows is None else rows.column(name)
    for number, name in enumerate(spec.labels):
        unknown = None if known is None else ~known[:, number]
        columns[name] = pa.array(labels[:, number].astype(np.float32), mask=unknown)
    if spec.negatives is not None:
        negative = labels[:, [*spec.labels].index(spec.negatives.label)] == 0
        few = negative & ~correction
        columns[RATE] = pa.array(np.where(few, np.float32(spec.negatives.rate), np.float32(1.0)))
    if spec.emit == "at_once":
        columns[CORRECTION] = pa.array(correction)
    columns[READY] = pa.array(ready)
    return pa.table(columns)


def kept(negatives: Downsample, keys: Ints | pa.Array) -> Mask:
    """Which negative samples stay; as `Downsample.keeps`, of many."""
    texts = pa.array(keys).cast(pa.string()) if isinstance(keys, np.ndarray) else keys
    return first_words(f"{negatives.seed}:", texts) < negatives.limit
