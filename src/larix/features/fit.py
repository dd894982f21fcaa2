"""fit: edges, means and stds from record batches."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa


def fit(features: Mapping[str, Any], batches: Iterable[pa.RecordBatch]) -> dict[str, Any]:
    """To come."""
    raise NotImplementedError
