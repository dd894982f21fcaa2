"""The optimizers in plain numpy: one step of some rows. Knows nothing of which rows they are."""

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats
from larix.embedding.spec import SGD, Adagrad, Adam, Optimizer, RowAdagrad


def step(optimizer: Optimizer, weights: Floats, state: Floats, grads: Floats, lr_scale: float) -> None:
    """One optimizer step on rows ``[n, dim]`` with state ``[n, s]``, in place and in float32."""
    lr, dim = np.float32(optimizer.lr * lr_scale), weights.shape[1]
    match optimizer:
        case SGD():
            weights -= lr * grads
        case Adagrad():
            state += grads * grads
            weights -= lr * grads / (np.sqrt(state) + np.float32(optimizer.eps))
        case RowAdagrad():
            state[:, 0] += _sum_of_squares(grads) / np.float32(dim)
            weights -= (lr / (np.sqrt(state) + np.float32(optimizer.eps))) * grads
        case Adam():
            first, second, count = state[:, :dim], state[:, dim:-1], state[:, -1]
            beta1, beta2 = np.float32(optimizer.beta1), np.float32(optimizer.beta2)
            count += np.float32(1)
            first[:] = beta1 * first + (np.float32(1) - beta1) * grads
            second[:] = beta2 * second + (np.float32(1) - beta2) * grads * grads
            rate = (np.float64(lr) / (1 - _power(optimizer.beta1, count))).astype(np.float32)
            root = np.sqrt(1 - _power(optimizer.beta2, count)).astype(np.float32)
            weights -= rate[:, None] * first / (np.sqrt(second) / root[:, None] + np.float32(optimizer.eps))


def _sum_of_squares(grads: Floats) -> Floats:
    """Sum of squares of each row in the order of a 16-lane register: lanes first, then halves onto halves."""
    squares = np.zeros((len(grads), -(-grads.shape[1] // 16) * 16), np.float32)
    squares[:, : grads.shape[1]] = grads * grads
    lanes = np.zeros((len(grads), 16), np.float32)
    for start in range(0, squares.shape[1], 16):
        lanes += squares[:, start : start + 16]
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def _power(base: float, exponents: Floats) -> NDArray[np.float64]:
    """``base ** exponents`` by squaring: the same bits everywhere, which ``pow`` does not promise."""
    left, power, result = exponents.astype(np.int64), np.float64(base), np.ones(len(exponents))
    while left.any():
        result = np.where(left & 1, result * power, result)
        left, power = left >> 1, power * power
    return result
