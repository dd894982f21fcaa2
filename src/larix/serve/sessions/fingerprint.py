"""A number that tells what a request asks: a retry asks the same. Knows nothing of sessions."""

from collections.abc import Hashable

import google_crc32c
import pyarrow as pa


def fingerprint(rows: pa.RecordBatch, *besides: Hashable) -> int:
    """Of rows and whatever else counts, in this process. Against mistakes, not against malice: 32 bits are of a CRC."""
    crc = google_crc32c.value(rows.serialize())
    return hash((crc, len(rows), tuple(rows.schema.names), besides))
