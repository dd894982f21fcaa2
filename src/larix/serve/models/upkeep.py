"""What the rows of a version need now and then, and what they tell of themselves. Knows nothing of who looks them up."""

from collections.abc import Mapping

from larix.embedding import Replica
from larix.errors import StorageError


def adapted(rows: Replica) -> str:
    """Have rows that are used more made hot; why they could not be, "" if they could."""
    if rows.levels is None:
        return ""
    try:
        rows.adapt()
    except StorageError as error:
        return f"rows stay on the levels they are on: {error}"
    return ""


def gauges_of(rows: Replica) -> Mapping[str, float]:
    """How many rows there are and what they take, how often they were looked up, and where they were found."""
    stats = rows.stats()
    found = {
        "rows": float(stats.rows),
        "row_bytes": float(stats.bytes),
        "row_shared_bytes": float(stats.shared),
        "row_lookups": float(stats.lookups),
        "row_missing": float(stats.missing),
    }
    if stats.levels is not None:
        found |= {
            "row_hot": float(stats.levels.hot_rows),
            "row_hit_rate": stats.levels.hit_rate,
            "row_disk_bytes": float(stats.levels.disk_bytes),
        }
    return found
