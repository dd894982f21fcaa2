"""A native store whose rows go to disk before every call, some of them each time: else it is a store like any other."""

import contextlib
import itertools

import numpy as np

from larix.embedding import TimeToLive, table
from larix.errors import StorageError

AMPLE = 64 << 20  # a budget by which no row goes to disk but by order


class Restless:
    """What ``stores_in`` makes: a class as ``Tables`` is, whose stores have a folder each."""

    folder, numbers = None, None

    def __init__(self, specs, **settings):
        # Where a test is about a budget, or about rows whose time is over, all stay in memory.
        budgeted = settings.pop("memory_budget", None)
        if budgeted is not None or any(isinstance(spec.eviction, TimeToLive) for spec in specs):
            self._tables, self._rng = table.Tables(specs, memory_budget=budgeted, **settings), None
        else:
            self._begin(lambda **more: table.Tables(specs, **more, **settings))

    @classmethod
    def load(cls, folder, **settings):
        self = cls.__new__(cls)
        self._begin(lambda **more: table.Tables.load(folder, **more, **settings))
        return self

    def __getattr__(self, name):
        self._stir()
        return getattr(self._tables, name)

    def __setattr__(self, name, value):
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._tables, name, value)

    def __len__(self):
        return len(self._tables)

    def _begin(self, make):
        number = next(self.numbers)
        self._tables = make(cold=self.folder / str(number), memory_budget=AMPLE)
        self._rng = np.random.default_rng(number)

    def _stir(self):
        for number, name in enumerate(self._tables.specs, 1):
            ids = self._tables.keys(name)
            if self._rng is not None and len(ids):
                with contextlib.suppress(StorageError):  # a full disk: then rows stay where they are
                    self._tables._core.spill(number, ids[self._rng.random(len(ids)) < self._rng.random()])


def stores_in(folder):
    return type("RestlessThere", (Restless,), {"folder": folder, "numbers": itertools.count()})
