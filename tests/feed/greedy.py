"""The three choices in plain numpy, from scratch for every candidate at every place. Knows nothing of the kernels."""

import numpy as np

NOTHING = 1e-9  # of a squared unit vector outside a span: as native/diversity.hpp says


def units(vectors):
    rows = np.asarray(vectors, np.float32).astype(np.float64)
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def outside(window, rows):
    """The squared length of each of ``rows`` outside the span of the rows of ``window``, by its singular vectors.

    The span's rank is that of the rows, oldest first, each of which adds a direction or lies in the span of those before.
    """
    independent = []
    for row in window:
        if left_of(np.array(independent).reshape(-1, rows.shape[1]), row[None])[0] > NOTHING:
            independent.append(row)
    left = left_of(np.array(independent).reshape(-1, rows.shape[1]), rows)
    return np.where(left > NOTHING, left, 0.0)


def left_of(window, rows):
    if len(window):
        basis = np.linalg.svd(window, full_matrices=False)[2]
        for _ in range(2):
            rows = rows - (rows @ basis.T) @ basis
    return (rows * rows).sum(axis=1)


def volumes(window, rows):
    """The volume that each of ``rows`` spans with all rows of ``window``, by QR; 0 if the rank is too low."""
    count, dim = len(window) + 1, rows.shape[1]
    if count > dim:
        return np.zeros(len(rows))
    together = np.concatenate([np.broadcast_to(window, (len(rows), count - 1, dim)), rows[:, None]], axis=1)
    triangles = np.linalg.qr(together.transpose(0, 2, 1), mode="r")
    lengths = np.abs(np.diagonal(triangles, axis1=1, axis2=2))
    return np.where((lengths**2 > NOTHING).all(axis=1), np.prod(lengths, axis=1), 0.0)


def gains_of(method, window, rows, weight):
    """What diversity adds to the score of each of ``rows`` after ``window``; both unit vectors or zeros."""
    if method == "mmr":
        return 0.0 - (1 - weight) * (rows @ window.T).max(axis=1) if len(window) else np.zeros(len(rows))
    if method == "ssd":
        return weight * volumes(window, rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = outside(window, rows)
        return np.where(left > 0, (1 - weight) * np.log(left), -np.inf)


def scores_of(method, relevance, rows, chosen, weight, window):
    """Of the next place after ``chosen``: every candidate's score (minus infinity if taken) and gain.

    ``rows``: unit vectors. If no candidate has a chance with a determinant, scores are relevance.
    """
    gains = gains_of(method, rows[chosen[max(0, len(chosen) - window + 1) :]], rows, weight)
    relevance = np.asarray(relevance, np.float32).astype(np.float64)
    scores = (relevance if method == "ssd" else weight * relevance) + gains
    free = np.ones(len(rows), bool)
    free[chosen] = False
    if method == "dpp" and not np.isfinite(scores[free]).any():
        scores = relevance
    return np.where(free, scores, -np.inf), gains


def page(method, relevance, vectors, count, weight, window):
    """The whole page: (items, gains). Ties go to the first."""
    rows, chosen, shares = units(vectors), [], []
    window = max(count, 1) if window is None else window
    for _ in range(min(count, len(rows))):
        scores, gains = scores_of(method, relevance, rows, chosen, weight, window)
        best = int(np.argmax(scores))
        chosen.append(best)
        shares.append(gains[best])
    return np.array(chosen, np.int64), np.array(shares)
