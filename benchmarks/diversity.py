"""How long a page takes to choose: 50 of 500 candidates, vectors of 64, by each method, on one thread.

``numpy``: the same incremental algorithms in numpy, which must choose the same pages. Items are compared with the
``window - 1`` before them, or with all (cases ending in ``whole``). ``--quick`` ends within seconds.
"""

import argparse
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
from collections.abc import Callable

import measure
import numpy as np

from larix.feed import DPP, MMR, SSD, Diversity

CANDIDATES, COUNT, DIM, WINDOW = 500, 50, 64, 10
BALANCE, GAMMA = 0.7, 1.0
Choose = Callable[[np.ndarray, np.ndarray, int], list[int]]


def unit(vectors: np.ndarray) -> np.ndarray:
    rows = vectors.astype(np.float64)
    return rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True))


def numpy_mmr(relevance: np.ndarray, vectors: np.ndarray, window: int) -> list[int]:
    rows, free = unit(vectors), BALANCE * relevance.astype(np.float64)
    chosen: list[int] = []
    cosines = np.empty((window - 1, len(rows)))
    for place in range(COUNT):
        held = min(place, window - 1)
        score = free - (1 - BALANCE) * cosines[:held].max(axis=0) if held else free
        chosen.append(int(score.argmax()))
        free[chosen[-1]] = -np.inf
        cosines[place % (window - 1)] = rows @ rows[chosen[-1]]
    return chosen


def numpy_dpp(relevance: np.ndarray, vectors: np.ndarray, window: int) -> list[int]:
    rows, free = unit(vectors), BALANCE * relevance.astype(np.float64)
    left, coordinates = np.ones(len(rows)), np.empty((0, len(rows)))
    chosen: list[int] = []
    for _ in range(COUNT):
        chosen.append(int((free + (1 - BALANCE) * np.log(np.maximum(left, 1e-300))).argmax()))
        free[chosen[-1]] = -np.inf
        if len(coordinates) == window - 1:
            carried, coordinates = coordinates[0].copy(), coordinates[1:].copy()
            for age, item in enumerate(chosen[-window + 1 : -1]):
                length = np.hypot(coordinates[age, item], carried[item])
                cosine, sine = coordinates[age, item] / length, carried[item] / length
                kept = coordinates[age]
                coordinates[age], carried = cosine * kept + sine * carried, cosine * carried - sine * kept
            left += carried**2
        item = chosen[-1]
        fresh = rows @ rows[item] - coordinates[:, item] @ coordinates
        fresh /= np.sqrt(left[item])
        left -= fresh**2
        coordinates = np.vstack([coordinates, fresh])
    return chosen


def numpy_ssd(relevance: np.ndarray, vectors: np.ndarray, window: int) -> list[int]:
    rows, free = unit(vectors), relevance.astype(np.float64)
    left, volume = np.ones(len(rows)), 1.0
    chosen: list[int] = []
    for _ in range(COUNT):
        chosen.append(int((free + GAMMA * volume * np.sqrt(np.maximum(left, 0))).argmax()))
        free[chosen[-1]] = -np.inf
        held = chosen[-window + 1 :]
        if len(chosen) > window - 1:  # the last column is what only the oldest spans
            lost = np.linalg.qr(rows[[*held[:-1], chosen[-window]]].T)[0][:, -1]
            left += (rows @ lost) ** 2
        basis, triangle = np.linalg.qr(rows[held].T)
        left -= (rows @ basis[:, -1]) ** 2
        volume = float(np.abs(np.diag(triangle)).prod())
    return chosen


METHODS: dict[str, tuple[Callable[[int], Diversity], Choose]] = {
    "ssd": (lambda window: SSD(gamma=GAMMA, window=window), numpy_ssd),
    "dpp": (lambda window: DPP(balance=BALANCE, window=window), numpy_dpp),
    "mmr": (lambda window: MMR(balance=BALANCE, window=window), numpy_mmr),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs: ends within seconds")
    parser.add_argument("--peers", action="store_true", help="none here: numpy is always beside")
    rounds = 20 if parser.parse_args().quick else 200
    random = np.random.default_rng(0)
    relevance = random.random(CANDIDATES, np.float32)
    vectors = random.standard_normal((CANDIDATES, DIM)).astype(np.float32)
    subjects: dict[tuple[str, str, int], Callable[[], list[int]]] = {}
    for window, ending in ((WINDOW, ""), (COUNT, " whole")):
        for name, (method, oracle) in METHODS.items():
            ours, case = method(window), f"{name} {CANDIDATES}-{COUNT}{ending}"
            subjects["larix", case, window] = lambda ours=ours: ours.page(
                relevance, vectors, COUNT
            ).items.tolist()
            subjects[f"numpy {np.__version__}", case, window] = lambda oracle=oracle, window=window: oracle(
                relevance, vectors, window
            )
            if len({tuple(subjects[key]()) for key in subjects if key[1] == case}) != 1:
                raise SystemExit(f"{case}: larix and numpy choose different pages")
    millis: dict[tuple[str, str, int], list[float]] = {key: [] for key in subjects}
    for _ in range(rounds):  # in turn, so that whatever else the machine does meets all alike
        for key, choose in subjects.items():
            start = time.perf_counter()
            choose()
            millis[key].append((time.perf_counter() - start) * 1e3)
    for (subject, case, window), values in millis.items():
        measure.emit("diversity", subject, case, "ms", values, "ms", window=window)


if __name__ == "__main__":
    main()
