"""A process that loads rows which others may have, changes them, and tells what memory it takes: run as a script, and asked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import replicas

from larix.embedding import Replica, TableSpec
from larix.embedding.image import Images

DIM, ASKED = 64, 1000


class Process:
    def __init__(self, folder, rows):
        path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(Path(__file__).parent)])
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(folder), str(rows)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.begun = self.told()

    def told(self):
        return json.loads(self.process.stdout.readline())

    def ask(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.told()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def memory():
    found = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return {name: int(found[name].split()[0]) * 1024 for name in ("Pss", "Private_Dirty")}


def say(**told):
    print(json.dumps(told | memory()), flush=True)


def main():
    folder, rows = Path(sys.argv[1]), int(sys.argv[2])
    spec, ids = TableSpec(name="a", dim=DIM), np.arange(rows)
    some = ids[:: rows // ASKED]

    def snapshot():
        return replicas.snapshot([spec], 1, {"a": (ids, np.repeat(ids[:, None], DIM, 1) % 1000)})

    say()
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        if word == "load":
            replica = Replica([spec])
            said = Images(folder).fill(replica, snapshot(), "key")
            say(said=said, shared=replica.stats().shared)
        elif word == "apply":
            put, next_one = np.full((len(some), DIM), float(number)), replica.sequence + 1
            assert replica.apply(replicas.changes([spec], next_one, next_one, {"a": (some, put)}))
            say()
        else:
            say(sum=float(replica.lookup("a", some).sum()))


if __name__ == "__main__":
    main()
