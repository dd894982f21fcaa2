"""A process that trains, saves, logs and compacts until it is killed; and what its tables are at any sequence number.

Usage: crashing.py FOLDER SEED. Every call ends one sequence number and depends on that number alone, so that the state at
each is foretold, however often the process was killed and went on from its files.
"""

import sys
import threading
import time
from pathlib import Path

import numpy as np

from larix.embedding import SGD, Adam, DeltaLog, Tables, TableSpec, snapshot

SPECS = [TableSpec(name="a", dim=8, optimizer=Adam()), TableSpec(name="b", dim=3, optimizer=SGD())]
IDS = 2000


def call(tables, seed):
    """The one call that leads from the end of a sequence number to that of the next."""
    rng = np.random.default_rng([seed, tables.sequence])
    spec = SPECS[rng.integers(2)]
    ids = rng.integers(0, IDS, rng.integers(1, 200))
    grads = rng.standard_normal((len(ids), spec.dim)).astype(np.float32)
    what = rng.integers(4)
    if what == 0:
        tables.lookup(spec.name, ids, insert=True)
    elif what == 1 and tables.remove(spec.name, ids[:3]):
        pass
    elif what == 2:
        tables.put(spec.name, ids[:9], grads[:9], rng.random((len(ids[:9]), spec.state)).astype(np.float32))
    else:
        tables.update(spec.name, ids, grads)
    tables.cut()


def live(folder, seed):
    snapshot.PIECE_BYTES = 1 << 14  # several files a table
    log_folder = folder / "log"
    tables = (
        Tables.load(log_folder, threads=2) if log_folder.exists() else Tables(SPECS, seed=seed, threads=2)
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
    live(Path(sys.argv[1]), int(sys.argv[2]))
