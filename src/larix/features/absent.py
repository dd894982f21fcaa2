"""Which rows of a record batch lack values: what a transform counts in all, row by row. Knows nothing of who asks."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from larix.batch import Ids as Counts
from larix.features import kernels
from larix.features.bucket import Bucket
from larix.features.dense import Dense
from larix.features.ids import Cross, Id, Ids
from larix.features.records import ID, NUMBER, TIME, Kinds, Records
from larix.features.sequence import Sequence

if TYPE_CHECKING:
    from larix.features.sample import Sample


def absent(sample: "Sample", batch: pa.RecordBatch, name: str) -> Counts:
    """How many values each row lacks, int64 ``[rows]``: their sum is ``missing[name]`` of the transform of ``batch``.

    ``batch`` must have been transformed without an error.
    """
    records = Records(batch)
    name, _, element = name.partition(".")
    match sample.features[name]:
        case Bucket(column=column) | Dense(column=column):
            return _unknown(records, column).astype(np.int64)
        case Cross(left=left, right=right):
            return (_null(records, left, ID) | _null(records, right, ID)).astype(np.int64)
        case Ids(column=column, newest=newest):
            whole = batch.column(column).is_null().to_numpy(zero_copy_only=False)
            return np.asarray(whole + _in_lists(records, column, ID, newest), np.int64)
        case Sequence(elements=elements, newest=newest):
            return _in_lists(records, elements[element].column, NUMBER, newest)
        case feature:
            return _null(records, feature.column, ID if isinstance(feature, Id) else TIME).astype(np.int64)


def _null(records: Records, column: str, kinds: Kinds) -> kernels.Mask:
    return ~kernels.read_known(records.flat(column, kinds), None)


def _unknown(records: Records, column: str) -> kernels.Mask:
    """Null or NaN."""
    return np.isnan(kernels.read_numbers(records.flat(column, NUMBER), None))


def _in_lists(records: Records, column: str, kinds: Kinds, newest: int | None) -> Counts:
    """By row how many of the elements that are read are null, or NaN if they are numbers."""
    view = records.lists(column, kinds)
    ranges = records.ranges(column, view, newest)
    if kinds is NUMBER:
        lacking = np.isnan(kernels.read_numbers(view.child, ranges))
    else:
        lacking = ~kernels.read_known(view.child, ranges)
    sums = np.zeros(len(lacking) + 1, np.int64)
    np.cumsum(lacking, out=sums[1:])
    return np.diff(sums[ranges.offsets])
