"""A process that trains and logs: all weights of a row are the number of the delta that changed it last.

Usage: writing.py FOLDER DELTAS. Says a line when the base is there, and one at the end. After every tenth delta it says its
number, and compacts the log when it is given a line.
"""

import sys
import time
from pathlib import Path

import numpy as np

from larix.embedding import SGD, DeltaLog, Tables, TableSpec

SPECS = [TableSpec(name="a", dim=8, optimizer=SGD()), TableSpec(name="b", dim=3, optimizer=SGD())]
IDS = 500  # of each table; id 0 is in every delta


def write(folder, deltas):
    tables, rng = Tables(SPECS, threads=1), np.random.default_rng(1)
    log = DeltaLog(folder, tables)
    print("base", flush=True)
    for number in range(1, deltas + 1):
        for spec in SPECS:
            tables.remove(spec.name, rng.integers(1, IDS, 50))
            ids = np.concatenate([np.zeros(1, np.int64), rng.integers(1, IDS, 100)])
            tables.put(
                spec.name,
                ids,
                np.full((len(ids), spec.dim), number, np.float32),
                np.zeros((len(ids), 0), np.float32),
            )
        log.append()
        if number % 10 == 0:
            print(number, flush=True)
            sys.stdin.readline()
            log.compact()
        time.sleep(0.005)
    print("end", flush=True)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
