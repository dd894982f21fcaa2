"""The oracle: the parameter store in plain numpy, written to be obviously right; contract tests run on it.

The native store gives the same bits. Knows nothing of speed, threads or native code.
"""
# ruff: noqa: D102 - the docstrings stand once, in table.py

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from larix.batch import Batch, Floats, Ids, Jagged
from larix.embedding import birth, check, storage
from larix.embedding.layout import Layout, Pool
from larix.embedding.lookup import Lookup, Stats
from larix.embedding.spec import SGD, Adagrad, Adam, Optimizer, RowAdagrad, TableSpec

Places = NDArray[np.int64]  # where rows are in a table's array; -1 is none. No place is ever used twice.


class _Table:
    def __init__(self, spec: TableSpec, seed: int) -> None:
        self.spec = spec
        self.key = birth.table_key(seed, spec.name)
        self.places: dict[int, int] = {}
        self.rows = np.zeros((0, spec.dim + spec.state), np.float32)
        self.alive = np.zeros(0, bool)

    def find(self, ids: Ids) -> Places:
        return np.fromiter((self.places.get(i, -1) for i in ids.tolist()), np.int64, len(ids))

    def insert(self, ids: Ids) -> None:
        """Give every id that has none a row of its own."""
        new = np.array([i for i in dict.fromkeys(ids.tolist()) if i not in self.places], np.int64)
        self.places.update(zip(new.tolist(), range(len(self.rows), len(self.rows) + len(new)), strict=True))
        weights = birth.born(self.spec.init, self.key, new, self.spec.dim)
        state = np.full((len(new), self.spec.state), self.spec.initial_state, np.float32)
        self.rows = np.concatenate([self.rows, np.concatenate([weights, state], axis=1)])
        self.alive = np.concatenate([self.alive, np.ones(len(new), bool)])

    def read(self, places: Places) -> Floats:
        """Whole rows ``[n, dim + state]``; zeros where there is no row."""
        found = np.zeros((len(places), self.rows.shape[1]), np.float32)
        found[places >= 0] = self.rows[places[places >= 0]]
        return found

    def weights(self, places: Places) -> Floats:
        return self.read(places)[:, : self.spec.dim]

    def apply(self, places: Places, grads: Floats, lr_scale: float) -> int:
        """Sum the gradients of repeated rows in order, step each row once; return how many met no row."""
        there = (places >= 0) & (places < len(self.rows))
        there[there] = self.alive[places[there]]
        touched, owner = np.unique(places[there], return_inverse=True)
        summed = np.zeros((len(touched), self.spec.dim), np.float32)
        np.add.at(summed, owner, grads[there])
        rows = self.rows[touched]
        _step(self.spec.optimizer, rows[:, : self.spec.dim], rows[:, self.spec.dim :], summed, lr_scale)
        self.rows[touched] = rows
        return int(np.count_nonzero(~there))


class Tables:
    """Many named tables, with the methods, arguments and errors of ``larix.embedding.Tables``."""

    def __init__(self, specs: Sequence[TableSpec], *, seed: int = 0, threads: int = 0) -> None:
        self.specs = check.specs(specs)
        self.seed = seed
        check.threads(threads)
        self._tables = {name: _Table(spec, seed) for name, spec in self.specs.items()}
        self._lookups = self._inserted = self._missing = self._lost = 0

    def __len__(self) -> int:
        return sum(self.rows(table) for table in self.specs)

    def rows(self, table: str) -> int:
        return len(self._table(table).places)

    def lookup(self, table: str, ids: Ids, *, insert: bool = False, out: Floats | None = None) -> Floats:
        ids = check.ids(ids)
        found = self._table(table)
        out = np.empty((len(ids), found.spec.dim), np.float32) if out is None else out
        check.floats(out, (len(ids), found.spec.dim), "out", writable=True)
        out[:] = found.weights(self._places(found, ids, insert))
        return out

    def update(self, table: str, ids: Ids, grads: Floats, *, lr_scale: float = 1.0) -> None:
        ids = check.ids(ids)
        found = self._table(table)
        check.floats(grads, (len(ids), found.spec.dim), "grads")
        self._lost += found.apply(found.find(ids), grads, check.scale(lr_scale))

    def gather(self, layout: Layout, batch: Batch, outs: Sequence[Floats], *, insert: bool = True) -> Lookup:
        layout.check({name: spec.dim for name, spec in self.specs.items()})
        check.buffers(layout, batch.size, outs, writable=True)
        jaggeds = check.slots(layout, batch)
        check.offsets(layout, jaggeds)
        handles = []
        for slot, jagged in zip(layout.slots, jaggeds, strict=True):
            table = self._tables[slot.table]
            places = self._places(table, jagged.values, insert)
            view = outs[slot.output][..., slot.column : slot.column + table.spec.dim]
            _pool(slot.pool, jagged, table.weights(places), view)
            handles.append(places.view(np.uint64))
        return Lookup(layout, batch, np.concatenate([np.zeros(0, np.uint64), *handles]), self)

    def apply(self, lookup: Lookup, grads: Sequence[Floats], *, lr_scale: float = 1.0) -> None:
        check.buffers(lookup.layout, lookup.batch.size, grads, writable=False)
        check.scale(lr_scale)
        gathered: dict[str, list[tuple[Places, Floats]]] = {}
        start = 0
        for slot, jagged in zip(lookup.layout.slots, check.slots(lookup.layout, lookup.batch), strict=True):
            places = lookup.handles[start : start + len(jagged.values)].view(np.int64)
            start += len(jagged.values)
            if lookup.store is not self:
                places = np.full_like(places, -1)
            dim = self.specs[slot.table].dim
            view = grads[slot.output][..., slot.column : slot.column + dim]
            kept, each = _spread(slot.pool, jagged, view)
            gathered.setdefault(slot.table, []).append((places[kept], each))
        for name, parts in gathered.items():
            places, each = (np.concatenate(part) for part in zip(*parts, strict=True))
            self._lost += self._tables[name].apply(places, each, lr_scale)

    def keys(self, table: str) -> Ids:
        return np.sort(np.fromiter(self._table(table).places, np.int64))

    def read(self, table: str, ids: Ids) -> tuple[Floats, Floats]:
        found = self._table(table)
        rows = found.read(found.find(check.ids(ids)))
        return rows[:, : found.spec.dim].copy(), rows[:, found.spec.dim :].copy()

    def items(self, table: str) -> tuple[Ids, Floats, Floats]:
        ids = self.keys(table)
        return ids, *self.read(table, ids)

    def put(self, table: str, ids: Ids, weights: Floats, state: Floats) -> None:
        ids = check.ids(ids)
        found = self._table(table)
        check.floats(weights, (len(ids), found.spec.dim), "weights")
        check.floats(state, (len(ids), found.spec.state), "state")
        found.insert(ids)
        found.rows[found.find(ids)] = np.concatenate([weights, state], axis=1)

    def remove(self, table: str, ids: Ids) -> int:
        found = self._table(table)
        gone = [place for i in check.ids(ids).tolist() if (place := found.places.pop(i, None)) is not None]
        found.alive[gone] = False
        return len(gone)

    def save(self, folder: str | Path) -> None:
        storage.save(self, folder)

    @classmethod
    def load(cls, folder: str | Path, *, specs: Sequence[TableSpec] | None = None, threads: int = 0) -> Self:
        return storage.load(folder, lambda found, seed: cls(found, seed=seed, threads=threads), specs)

    def stats(self) -> Stats:
        return Stats(
            rows=len(self),
            bytes=sum(table.rows.nbytes for table in self._tables.values()),
            lookups=self._lookups,
            hits=self._lookups - self._inserted - self._missing,
            inserted=self._inserted,
            missing=self._missing,
            lost=self._lost,
        )

    def _table(self, name: str) -> _Table:
        check.known(name, self.specs)
        return self._tables[name]

    def _places(self, table: _Table, ids: Ids, insert: bool) -> Places:
        self._lookups += len(ids)
        if insert:
            before = len(table.places)
            table.insert(ids)
            self._inserted += len(table.places) - before
        places = table.find(ids)
        self._missing += int(np.count_nonzero(places < 0))
        return places


def _owners(jagged: Jagged) -> NDArray[np.int64]:
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
    np.add.at(total, _owners(jagged), np.float32(1) if jagged.weights is None else jagged.weights)
    return total


def _pool(pool: Pool, jagged: Jagged, rows: Floats, out: Floats) -> None:
    """Write pooled rows into ``out [size, dim]``, or a sequence's rows into ``out [size, length, dim]``."""
    if pool == "sequence":
        owners = _owners(jagged)
        starts = owners if jagged.offsets is None else jagged.offsets[owners]
        out[:] = 0
        out[owners, np.arange(len(rows)) - starts] = rows
    elif jagged.offsets is None and jagged.weights is None:
        out[:] = rows
    else:
        summed = np.zeros(out.shape, np.float32)
        np.add.at(summed, _owners(jagged), rows if jagged.weights is None else jagged.weights[:, None] * rows)
        total = _total(pool, jagged)[:, None]
        out[:] = np.divide(summed, total, out=np.zeros_like(summed), where=total != 0)


def _spread(pool: Pool, jagged: Jagged, grad: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Which ids have a gradient ``[n]``, and the gradients of those: the transpose of ``_pool``."""
    owners = _owners(jagged)
    if pool == "sequence":
        starts = owners if jagged.offsets is None else jagged.offsets[owners]
        return np.ones(len(owners), bool), grad[owners, np.arange(len(owners)) - starts]
    total = _total(pool, jagged)[owners]
    kept = total != 0
    weight = np.ones(len(owners), np.float32) if jagged.weights is None else jagged.weights
    return kept, (weight[kept] / total[kept])[:, None] * grad[owners[kept]]


def _step(optimizer: Optimizer, weights: Floats, state: Floats, grads: Floats, lr_scale: float) -> None:
    """One optimizer step on rows ``[n, dim]`` with state ``[n, s]``, in place and in float32."""
    lr, dim = np.float32(optimizer.lr * lr_scale), weights.shape[1]
    match optimizer:
        case SGD():
            weights -= lr * grads
        case Adagrad():
            state += grads * grads
            weights -= lr * grads / (np.sqrt(state) + np.float32(optimizer.eps))
        case RowAdagrad():
            state[:, 0] += _sum_of_squares(grads) / np.float32(dim)
            weights -= (lr / (np.sqrt(state) + np.float32(optimizer.eps))) * grads
        case Adam():
            first, second, count = state[:, :dim], state[:, dim:-1], state[:, -1]
            beta1, beta2 = np.float32(optimizer.beta1), np.float32(optimizer.beta2)
            count += np.float32(1)
            first[:] = beta1 * first + (np.float32(1) - beta1) * grads
            second[:] = beta2 * second + (np.float32(1) - beta2) * grads * grads
            rate = (np.float64(lr) / (1 - _power(optimizer.beta1, count))).astype(np.float32)
            root = np.sqrt(1 - _power(optimizer.beta2, count)).astype(np.float32)
            weights -= rate[:, None] * first / (np.sqrt(second) / root[:, None] + np.float32(optimizer.eps))


def _sum_of_squares(grads: Floats) -> Floats:
    """Sum of squares of each row in the order of a 16-lane register: lanes first, then halves onto halves."""
    squares = np.zeros((len(grads), -(-grads.shape[1] // 16) * 16), np.float32)
    squares[:, : grads.shape[1]] = grads * grads
    lanes = np.zeros((len(grads), 16), np.float32)
    for start in range(0, squares.shape[1], 16):
        lanes += squares[:, start : start + 16]
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def _power(base: float, exponents: Floats) -> NDArray[np.float64]:
    """``base ** exponents`` by squaring: the same bits everywhere, which ``pow`` does not promise."""
    left, power, result = exponents.astype(np.int64), np.float64(base), np.ones(len(exponents))
    while left.any():
        result = np.where(left & 1, result * power, result)
        left, power = left >> 1, power * power
    return result
