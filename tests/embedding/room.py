"""Budgets for tests: so many bytes that a store has room for so many rows."""

from larix.embedding import reference
from larix.embedding.budget import row_bytes, sketch_bytes
from larix.embedding.plan import plan


def room(store, rows):
    """``rows``: spec -> number of rows. The oracle has no index and no slabs: what is not in use costs it nothing."""
    if store is reference.Tables:
        return sum(row_bytes(spec) * count for spec, count in rows.items()) + sketch_bytes(rows)
    return plan(rows).bytes
