"""Lookup and update of whole steps over warm rows: ours, the machine's limit and peers, with ratios of the same run.

Every subject is a process of its own; those that fit into memory together are measured in turn.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from measure import Worker, absent, emit, peer_python
from table_limits import stride_of
from table_peers import REQUIREMENTS
from table_work import DISTRIBUTIONS, IDS

FOLDER = Path(__file__).resolve().parent
SCRIPTS = {"larix": "table_larix.py", "limit": "table_limits.py"}  # others: table_peers.py
CASES = [f"{what} {distribution}" for what in ("step", "lookup") for distribution in DISTRIBUTIONS]
BESIDE_ROWS = 700 << 20  # bytes a process takes whatever its rows: libraries, the ids of the steps
Told = dict[str, list[float]]  # rows/s of each round, by case


def measure(quick: bool, peers: bool) -> None:
    """Emit ``step`` and ``lookup`` for every dim, distribution and number of threads."""
    pythons = interpreters(peers)
    rows, rounds = (1_000_000, 4) if quick else (10_000_000, 10)
    for dim in (16,) if quick else (16, 32, 64, 128):
        alone = one_size(pythons, dim, 1, rows, rounds)
        threads = len(os.sched_getaffinity(0))
        if threads > 1:
            together = one_size(pythons, dim, threads, rows, rounds)
            for case, speeds in together.items():
                linear = threads * statistics.median(alone[case])
                shares = [speed / linear for speed in speeds]
                case = f"{case} dim={dim} threads={threads}"
                emit("table", "larix", case, "share_of_linear", shares, "ratio", rows=rows)


def interpreters(peers: bool) -> dict[str, str]:
    """What runs each subject. A peer that cannot be installed is said to be absent."""
    pythons = dict.fromkeys(("larix", "limit", "torch"), sys.executable)
    for peer, requirements in REQUIREMENTS.items() if peers else ():
        try:
            pythons[peer] = peer_python(peer, *requirements)
        except (OSError, subprocess.SubprocessError):
            absent("table", peer, f"{requirements} could not be installed: standard error says why")
    return pythons


def one_size(pythons: dict[str, str], dim: int, threads: int, rows: int, rounds: int) -> Told:
    """Measure all subjects at one dim and number of threads; our speeds over all sittings, as ours is in every one."""
    tail = f"dim={dim} threads={threads}"
    free = available() * 8 // 10 - bytes_of("larix", dim, rows)
    ours: Told = {case: [] for case in CASES}
    mine = start(pythons, "larix", dim, threads, rows)
    for sitting in sittings([each for each in pythons if each != "larix"], dim, rows, free):
        others: dict[str, Worker] = {}
        told: dict[str, Told] = {}
        for subject, its in sitting.items():
            try:
                others[subject] = start(pythons, subject, dim, threads, its)
            except (SystemExit, OSError):
                absent("table", subject, f"{tail}: could not start")
        beside: Told = {case: [] for case in CASES}
        for _ in range(rounds):
            note(mine, beside)
            for subject, worker in list(others.items()):
                try:
                    note(worker, told.setdefault(subject, {}))
                except (SystemExit, OSError):
                    absent("table", subject, f"{tail}: ended before its work was done")
                    del others[subject]
        for subject, worker in others.items():
            say(worker, told[subject], tail)
            worker.end()
            for case in CASES:
                compare(subject, beside[case], told[subject][case], f"{case} {tail}", rows)
        for case in CASES:
            ours[case] += beside[case]
    say(mine, ours, tail)
    mine.end()
    return ours


def start(pythons: dict[str, str], subject: str, dim: int, threads: int, rows: int) -> Worker:
    script = FOLDER / SCRIPTS.get(subject, "table_peers.py")
    arguments = [subject, str(dim), str(threads), str(rows)]
    return Worker(pythons[subject], str(script), arguments, {"GOMP_SPINCOUNT": "10000"})


def note(worker: Worker, told: Told) -> None:
    """Let a worker work one round and keep its speeds."""
    for case, speed in worker.round().items():
        told.setdefault(case, []).append(speed)


def say(worker: Worker, told: Told, tail: str) -> None:
    for case, speeds in told.items():
        fields = {"rows": worker.about["rows"], "ids": IDS}
        emit("table", worker.about["subject"], f"{case} {tail}", "rows_per_s", speeds, "rows/s", **fields)


def compare(subject: str, ours: list[float], theirs: list[float], case: str, rows: int) -> None:
    """Ratios of rounds that followed each other: how far below the limit we are, how many times a peer's speed."""
    if subject == "limit":
        metric, ratios = "limit_over_ours", [b / a for a, b in zip(ours, theirs, strict=True)]
    else:
        metric, ratios = f"times_{subject}", [a / b for a, b in zip(ours, theirs, strict=True)]
    emit("table", "larix", case, metric, ratios, "ratio", rows=rows)


def bytes_of(subject: str, dim: int, rows: int) -> int:
    """About what a subject's process takes."""
    match subject:
        case "torch":  # an accumulator a weight
            need = rows * dim * 8
        case "fbgemm":
            need = rows * (dim * 4 + 4)
        case "tfra":  # two cuckoo tables with a power of two of places: weights, accumulators
            need = 2 * (1 << (rows - 1).bit_length()) * (dim * 4 + 8)
        case _:
            need = rows * (stride_of(dim) + 16)
    return need + BESIDE_ROWS


def available() -> int:
    """Bytes that the system could still give to processes."""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable")) * 1024


def sittings(subjects: list[str], dim: int, rows: int, free: int) -> list[dict[str, int]]:
    """Subjects and their rows, together as far as ``free`` bytes allow; alone and with fewer rows if need be."""
    planned: list[dict[str, int]] = []
    left: list[int] = []
    for subject in subjects:
        its = rows
        while bytes_of(subject, dim, its) > free and its > IDS:
            its //= 2
        need = bytes_of(subject, dim, its)
        for at, room in enumerate(left):
            if need <= room:
                planned[at][subject] = its
                left[at] -= need
                break
        else:
            planned.append({subject: its})
            left.append(free - need)
    return planned
