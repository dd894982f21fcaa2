"""The machine's own limits: compiled loops over rows of our stride whose places are known; SUBJECT DIM THREADS ROWS."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
from measure import PEERS
from numpy.typing import NDArray
from table_work import BATCH, DISTRIBUTIONS, IDS, SLOTS, Cases, numbered, positions, serve

HEADER = 24  # bytes of a row of ours before its weights
BUCKET, BUCKET_ROWS = 64, 5.5  # bytes of a line of the index, and rows in it on average as it grows
SOURCE, LIBRARY = Path(__file__).resolve().with_name("limits.cpp"), PEERS.parent / "limits.so"


def stride_of(dim: int) -> int:
    """Bytes from one row of ours to the next: header, weights and one state value, rounded up to 8."""
    return (HEADER + 4 * dim + 4 + 7) // 8 * 8


def library() -> ctypes.CDLL:
    """``limits.cpp``, compiled with the flags of our core if it has changed."""
    if not LIBRARY.exists() or LIBRARY.stat().st_mtime < SOURCE.stat().st_mtime:
        compiler = os.environ.get("CXX") or shutil.which("c++") or "g++"
        flags = ["-std=c++20", "-O3", "-DNDEBUG", "-ffp-contract=off", "-fPIC", "-shared", "-pthread"]
        LIBRARY.parent.mkdir(exist_ok=True)
        subprocess.run([compiler, *flags, "-o", str(LIBRARY), str(SOURCE)], check=True)
    code, pointer, size = ctypes.CDLL(str(LIBRARY)), ctypes.c_void_p, ctypes.c_size_t
    for make in (code.reserve, code.make_rows):
        make.restype, make.argtypes = pointer, [size]
    for call in (code.work, code.work_whole, code.grow):
        call.restype = None
    code.work_whole.argtypes = [pointer, size, size, size, pointer, size, pointer, size, size, size, pointer]
    code.grow.argtypes = [pointer, size, size, size, pointer, size, size, size, size, pointer]
    code.work.argtypes = [pointer, size, size, size, pointer, pointer, size, size, pointer, ctypes.c_uint]
    return code


def limit(dim: int, threads: int, rows: int) -> tuple[str, Cases]:
    """Lookup: rows copied to one buffer. Step: weights and state of each row changed where they lie.

    ``step whole``, on one thread: all the memory that a lookup and an update have to visit; see ``limits.cpp``.
    ``in order``: each step's rows are met as they lie in memory. What that saves is not the rows' but their pages' time.
    """
    code, stride = library(), stride_of(dim)
    data = code.make_rows(rows * stride)
    buckets = int(rows / BUCKET_ROWS)
    index = code.make_rows(buckets * BUCKET)
    if not data or not index:
        raise MemoryError(f"no memory for {rows * stride} bytes of rows")
    out, vectors = np.empty((IDS, dim), np.float32), np.zeros((BATCH, SLOTS * dim), np.float32)
    cases: Cases = {}
    for distribution in (*DISTRIBUTIONS, "uniform in order"):
        met = numbered(positions(distribution.split()[0], rows), rows).reshape(-1, IDS).astype(np.uint32)
        at, ends = dealt(np.sort(met, axis=1) if distribution.endswith("in order") else met, threads)
        for case, into in (("lookup", out), ("step", None)):

            def run(
                first: int,
                count: int,
                at: NDArray[np.uint32] = at,
                ends: NDArray[np.int64] = ends,
                into: NDArray[np.float32] | None = into,
            ) -> None:
                target = None if into is None else into.ctypes.data
                places = (at[first:].ctypes.data, ends[first:].ctypes.data)
                code.work(data, stride, HEADER, dim, *places, IDS, count, target, threads)

            cases[f"{case} {distribution}"] = run
        if threads > 1 or distribution not in DISTRIBUTIONS:
            continue

        def whole(first: int, count: int, met: NDArray[np.uint32] = met) -> None:
            place, at = (data, stride, HEADER, dim), met[first:].ctypes.data
            code.work_whole(*place, index, buckets, at, SLOTS, BATCH, count, vectors.ctypes.data)

        cases[f"step whole {distribution}"] = whole
    return "limit", cases


def dealt(at: NDArray[np.uint32], threads: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Each step's rows ordered by the thread that owns them, and where each thread's end: ``[steps, threads + 1]``."""
    owner = at % np.uint32(threads)
    order = np.argsort(owner, axis=1, kind="stable")
    shares = [np.count_nonzero(owner == thread, axis=1) for thread in range(threads)]
    ends = np.cumsum([np.zeros(len(at), np.int64), *shares], axis=0).T
    return np.take_along_axis(at, order, 1), np.ascontiguousarray(ends)


if __name__ == "__main__":
    serve({"limit": limit})
