"""Ours, through the public API of larix.embedding: a table a slot, all in one Layout; SUBJECT DIM THREADS ROWS."""

import numpy as np
from numpy.typing import NDArray
from table_work import (
    BATCH,
    DISTRIBUTIONS,
    LR,
    SLOTS,
    Cases,
    gradients,
    keys,
    numbered,
    positions,
    serve,
)

from larix.batch import Batch, Jagged
from larix.embedding import Layout, Output, RowAdagrad, Slot, Tables, TableSpec

NAMES = [f"slot_{number}" for number in range(SLOTS)]


def specs(dim: int) -> list[TableSpec]:
    return [TableSpec(name=name, dim=dim, optimizer=RowAdagrad(lr=LR)) for name in NAMES]


def layout(dim: int) -> Layout:
    """All slots side by side in one output."""
    return Layout(
        outputs=(Output(name="rows", width=SLOTS * dim),),
        slots=tuple(Slot(name=name, table=name, output=0, column=at * dim) for at, name in enumerate(NAMES)),
    )


def batch(ids: NDArray[np.int64]) -> Batch:
    """A step's ids ``[SLOTS, n]``, one a sample and slot."""
    return Batch(
        size=ids.shape[1],
        ids={name: Jagged(ids[at]) for at, name in enumerate(NAMES)},
        sequences={},
        dense=np.empty((ids.shape[1], 0), np.float32),
    )


def larix(dim: int, threads: int, rows: int) -> tuple[str, Cases]:
    """``gather`` alone, or ``gather`` and ``apply``, over rows that are all there, with buffers of the caller's."""
    tables, plan = Tables(specs(dim), threads=threads), layout(dim)
    out, given = np.empty((BATCH, SLOTS * dim), np.float32), [gradients(dim)]
    each = rows // SLOTS
    for first in range(0, each, BATCH):
        some = np.arange(first, min(first + BATCH, each))
        ids = keys(numbered(np.broadcast_to(some, (SLOTS, len(some))), rows))
        tables.gather(plan, batch(ids), [out[: len(some)]])
    cases: Cases = {}
    for distribution in DISTRIBUTIONS:
        pool = [batch(ids) for ids in keys(numbered(positions(distribution, rows), rows))]

        def lookup(first: int, count: int, pool: list[Batch] = pool) -> None:
            for step in range(first, first + count):
                tables.gather(plan, pool[step], [out], insert=False)

        def train(first: int, count: int, pool: list[Batch] = pool) -> None:
            for step in range(first, first + count):
                tables.apply(tables.gather(plan, pool[step], [out]), given)

        cases |= {f"lookup {distribution}": lookup, f"step {distribution}": train}
    return "larix", cases


if __name__ == "__main__":
    serve({"larix": larix})
