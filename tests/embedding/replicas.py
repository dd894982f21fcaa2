"""Changes and snapshots made by hand: for tests of replicas."""

import numpy as np

from larix.embedding import Changes, Instant, Snapshot
from larix.embedding.changes import Touched
from larix.embedding.snapshot import Piece


def instant(sequence):
    return Instant(history="h", sequence=sequence, steps=0, clock=0)


def columns(spec, ids, weights):
    ids = np.array(ids, np.int64)
    n = len(ids)
    weights = np.ascontiguousarray(weights, np.float32).reshape(n, spec.dim)
    return (
        ids,
        weights,
        np.zeros((n, spec.state), np.float32),
        np.zeros(n, np.uint32),
        np.zeros(n, np.float32),
    )


def changes(specs, first, last, put=None, removed=None):
    """``put``: by table, ids and weights ``[n, dim]``; ``removed``: by table, ids."""
    put, removed = put or {}, removed or {}
    tables = {
        spec.name: Touched(
            *columns(spec, *put.get(spec.name, ([], []))),
            removed=np.array(removed.get(spec.name, []), np.int64),
        )
        for spec in specs
    }
    named = {spec.name: spec for spec in specs}
    return Changes(first=first, instant=instant(last), specs=named, tables=tables)


def snapshot(specs, sequence, rows):
    """``rows``: by table, ids and weights ``[n, dim]``."""
    pieces = [Piece(spec.name, *columns(spec, *rows[spec.name])) for spec in specs if spec.name in rows]
    return Snapshot({spec.name: spec for spec in specs}, 0, instant(sequence), iter(pieces))
