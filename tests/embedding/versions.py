"""Small stores with a random history, and what they hold: for tests of snapshots, changes and files."""

import numpy as np

from larix.embedding import SGD, Adagrad, TableSpec, Warmup

SPECS = [
    TableSpec(name="plain", dim=3, optimizer=SGD(schedule=Warmup(steps=9)), precision="bf16"),
    TableSpec(name="full", dim=2, optimizer=Adagrad()),
    TableSpec(name="alike/ids", dim=2, optimizer=Adagrad(), precision="bf16"),
]


def make(store, **options):
    return store(SPECS, seed=3, **options)


def contents(tables):
    """All that a store holds, by table and id."""
    with tables.snapshot() as snapshot:
        return held(snapshot)


def held(pieces):
    found = {}
    for piece in pieces:
        for at, one in enumerate(piece.ids.tolist()):
            assert (piece.table, one) not in found, "an id is there twice"
            found[piece.table, one] = tuple(array[at].tobytes() for array in piece[2:])
    return found


def do(tables, rng, most=12):
    """One random call."""
    spec = SPECS[rng.integers(len(SPECS))]
    ids = rng.integers(-most // 4, most, rng.integers(0, most))
    grads = rng.standard_normal((len(ids), spec.dim)).astype(np.float32)
    state = rng.random((len(ids), spec.state)).astype(np.float32)
    match rng.integers(6):
        case 0:
            tables.lookup(spec.name, ids, insert=True)
        case 1:
            tables.update(spec.name, ids, grads)
        case 2:
            tables.put(spec.name, ids, grads, state)
        case 3:
            tables.remove(spec.name, ids)
        case 4:
            seen = rng.integers(0, 2**32, len(ids), dtype=np.uint32)
            tables.put(spec.name, ids, grads, state, seen=seen, score=grads[:, 0].copy())
        case _:
            tables.clock = int(rng.integers(2**32))
