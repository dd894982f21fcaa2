"""Pools and their transposes in plain numpy: rows of a slot to vectors, gradients of vectors back to ids."""

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats, Jagged
from larix.embedding.layout import Pool


def owners(jagged: Jagged) -> NDArray[np.int64]:
    """Which sample each id belongs to."""
    return (
        np.arange(jagged.size)
        if jagged.offsets is None
        else np.repeat(np.arange(jagged.size), np.diff(jagged.offsets))
    )


def _total(pool: Pool, jagged: Jagged) -> Floats:
    """What each sample's pooled row is divided by ``[size]``: its weights added in order, or 1."""
    if pool != "mean":
        return np.ones(jagged.size, np.float32)
    total = np.zeros(jagged.size, np.float32)
    np.add.at(total, owners(jagged), np.float32(1) if jagged.weights is None else jagged.weights)
    return total


def pool_rows(pool: Pool, jagged: Jagged, rows: Floats, out: Floats) -> None:
    """Write pooled rows into ``out [size, dim]``, or a sequence's rows into ``out [size, length, dim]``."""
    if pool == "sequence":
        owner = owners(jagged)
        starts = owner if jagged.offsets is None else jagged.offsets[owner]
        out[:] = 0
        out[owner, np.arange(len(rows)) - starts] = rows
    elif jagged.offsets is None and jagged.weights is None:
        out[:] = rows
    else:
        summed = np.zeros(out.shape, np.float32)
        np.add.at(summed, owners(jagged), rows if jagged.weights is None else jagged.weights[:, None] * rows)
        total = _total(pool, jagged)[:, None]
        out[:] = np.divide(summed, total, out=np.zeros_like(summed), where=total != 0)


def spread(pool: Pool, jagged: Jagged, grad: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Which ids have a gradient ``[n]``, and the gradients of those: the transpose of ``pool_rows``."""
    owner = owners(jagged)
    if pool == "sequence":
        starts = owner if jagged.offsets is None else jagged.offsets[owner]
        return np.ones(len(owner), bool), grad[owner, np.arange(len(owner)) - starts]
    total = _total(pool, jagged)[owner]
    kept = total != 0
    weight = np.ones(len(owner), np.float32) if jagged.weights is None else jagged.weights
    return kept, (weight[kept] / total[kept])[:, None] * grad[owner[kept]]
