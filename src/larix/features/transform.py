"""transform: an Arrow record batch to a Batch."""

from concurrent.futures import Executor
from typing import TYPE_CHECKING

import pyarrow as pa

from larix.batch import Batch

if TYPE_CHECKING:
    from larix.features.sample import Sample


def transform(
    sample: "Sample", batch: pa.RecordBatch, labels: bool = True, *, pool: Executor | None = None
) -> Batch:
    """To come."""
    raise NotImplementedError
