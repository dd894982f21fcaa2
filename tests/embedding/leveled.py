"""For tests of levels: what rows have to read as, which have to move, a world of popular rows, a disk that fails."""

import os
from pathlib import Path

import numpy as np
import replicas

from larix.embedding import Levels, Replica, TableSpec
from larix.embedding.levels import shown
from larix.embedding.quantize import row_bytes

SPECS = [TableSpec(name="a", dim=3), TableSpec(name="b", dim=8, default=0.5), TableSpec(name="c", dim=3)]


class Oracle:
    """The weights that were put last, by table and id; what they read as is a function of the level."""

    def __init__(self, kind):
        self.kind = kind
        self.rows = {spec.name: {} for spec in SPECS}

    def apply(self, put, removed):
        for name, gone in removed.items():
            for one in gone.tolist():
                self.rows[name].pop(one, None)
        for name, (ids, weights) in put.items():
            self.rows[name].update(zip(ids.tolist(), weights, strict=True))

    def lookup(self, spec, ids, hot):
        found = [self.rows[spec.name].get(one) for one in ids.tolist()]
        weights = np.array([np.zeros(spec.dim) if row is None else row for row in found], np.float32)
        both = [shown(*self.kind, weights.reshape(-1, spec.dim), level) for level in (False, True)]
        read = np.where(hot[:, None], both[1], both[0])
        read[[row is None for row in found]] = spec.default
        return read


def chosen(uses, hot, fits, most):
    """The uses of the cold rows that are to become hot, ``most`` of them, and the ranks of those that are to become cold, if
    ``fits`` rows may be hot."""
    rank = np.where(hot, np.minimum(uses + 1, 255), uses)
    bar = next(least for least in range(1, 257) if (rank >= least).sum() <= fits)
    up = np.sort(uses[~hot & (uses >= bar)])[::-1][:most]
    need = max(0, int(hot.sum()) + len(up) - fits)
    return up, np.sort(rank[hot])[:need]


def zipf_world(folder, cold, rows=4000, hot=400, precision="fp32"):
    spec = TableSpec(name="t", dim=16)
    levels = Levels(hot_bytes=hot * row_bytes(precision, 16), folder=folder, cold=cold)
    replica = Replica([spec], precision=precision, levels=levels)
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((rows, 16)).astype(np.float32)
    replica.replace(replicas.snapshot([spec], 1, {"t": (np.arange(rows), weights)}))
    ranks = rng.permutation(rows)  # the most popular first

    def draw(n):
        return ranks[np.minimum(rng.zipf(1.3, n) - 1, rows - 1)]

    return spec, replica, weights, ranks, draw


def file_of(replica):
    """The descriptor of the one file that is open in the folder of cold rows and grew last."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith(str(Path(replica.levels.folder).resolve())):
                found.append(int(name))
        except OSError:
            continue
    return max(found, key=lambda descriptor: os.fstat(descriptor).st_ctime_ns)


def damaged(replica):
    descriptor = file_of(replica)
    os.pwrite(descriptor, b"\xff" * 100, 68 * 2000)
    return "damaged: the checksum is wrong of row"


def cut_short(replica):
    os.ftruncate(file_of(replica), 68 * 1000)
    return "damaged: it is cut short at row"


def unreadable(replica):
    folder = os.open(replica.levels.folder, os.O_RDONLY)
    os.dup2(folder, file_of(replica))
    os.close(folder)
    return "cannot read: Is a directory"
