"""A process that trains, saves, logs and compacts until it is killed; and what its tables are at any instant.

Usage: crashing.py FOLDER SEED BUDGET. With a budget ("" is none) rows beyond it go to disk. Every call is one step or one
tick of the clock, and depends on how many there were alone, so that the state at each is foretold, however often the process
was killed and went on from its files. (Sequence numbers pass as rows are moved in memory, too.)
"""

import sys
import threading
import time
from pathlib import Path

import numpy as np

from larix.embedding import SGD, Adam, DeltaLog, Tables, TableSpec, snapshot

SPECS = [TableSpec(name="a", dim=64, optimizer=Adam()), TableSpec(name="b", dim=3, optimizer=SGD())]
IDS = 2000
BUDGET = "5MiB"  # which holds about half of them


def calls(instant):
    """How many there were before an instant, or until now in a store."""
    return instant.steps + instant.clock


def prepare(tables, seed):
    """What goes before the next call, once or, by who goes on from there, once more: that changes nothing."""
    rng = np.random.default_rng([seed, calls(tables)])
    spec = SPECS[rng.integers(2)]
    ids = rng.integers(0, IDS, rng.integers(1, 200))
    grads = rng.standard_normal((len(ids), spec.dim)).astype(np.float32)
    what = rng.integers(4)
    if what == 0:
        tables.remove(spec.name, ids[:3])
    elif what == 1:
        tables.put(spec.name, ids[:9], grads[:9], rng.random((len(ids[:9]), spec.state)).astype(np.float32))
    return rng.integers(2), spec.name, ids, grads


def call(tables, seed):
    """The one call that leads on."""
    trains, name, ids, grads = prepare(tables, seed)
    if trains:
        tables.update(name, ids, grads)
    else:
        tables.lookup(name, ids, insert=True)
    tables.cut()


def room(folder, budget):
    """The settings of a store that has a cold tier, if it has a budget."""
    return {"memory_budget": budget, "cold": folder / "cold"} if budget else {}


def live(folder, seed, budget):
    snapshot.PIECE_BYTES = 1 << 16  # several files a table
    log_folder, settings = folder / "log", room(folder, budget) | {"threads": 2}
    tables = (
        Tables.load(log_folder, **settings) if log_folder.exists() else Tables(SPECS, seed=seed, **settings)
    )
    log = DeltaLog(log_folder, tables)

    def save():
        while True:
            tables.save(folder / "saved")

    def write_log():
        while True:
            for _ in range(4):
                log.append()
            log.compact()

    for work in (save, write_log):
        threading.Thread(target=work, daemon=True).start()
    print("alive", flush=True)
    while True:
        call(tables, seed)
        time.sleep(0.001)


if __name__ == "__main__":
    live(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
