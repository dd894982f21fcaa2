"""The optimizers in plain numpy: one step of some rows. Knows nothing of which rows they are.

The order of operations is the contract: native/rules.hpp repeats it, and numpy's float32 gives the same bits. A gradient
is clipped, then decay is added to it, then the rule steps, then the weights' norm is held.
"""

import numpy as np
from numpy.typing import NDArray

from larix.batch import Floats
from larix.embedding.optimizer import FTRL, LAMB, SGD, Adagrad, Adam, AdamW, Momentum, Optimizer, RowAdagrad

_ONE = np.float32(1)


def first_state(optimizer: Optimizer, weights: Floats, width: int) -> Floats:
    """State ``[n, width]`` of rows that are born with ``weights [n, dim]``."""
    state = np.zeros((len(weights), width), np.float32)
    match optimizer:
        case Adagrad() | RowAdagrad():
            state[:] = np.float32(optimizer.initial)
        case FTRL():
            z, n = _halves(state)
            n[:] = np.float32(optimizer.initial)
            threshold, offset = _ftrl_numbers(optimizer)
            size = np.abs(weights) * (np.sqrt(n) + offset) + threshold
            z[:] = np.where(weights == 0, np.float32(0), np.copysign(size, -weights))
        case _:
            pass
    return state


def step(optimizer: Optimizer, weights: Floats, state: Floats, grads: Floats, rate: np.float32) -> None:
    """Step rows ``[n, dim]`` with state ``[n, s]`` in place, in float32; ``grads`` are worked on in place, too."""
    if optimizer.clip_grad is not None:
        _hold(grads, optimizer.clip_grad)
    match optimizer:
        case SGD() | Momentum() | Adagrad() | RowAdagrad() | Adam() if optimizer.weight_decay:
            grads += np.float32(optimizer.weight_decay) * weights
        case AdamW() if optimizer.weight_decay:
            weights *= _ONE - rate * np.float32(optimizer.weight_decay)
        case _:
            pass
    match optimizer:
        case SGD():
            weights -= rate * grads
        case Momentum():
            momentum = np.float32(optimizer.momentum)
            state[:] = momentum * state + grads
            weights -= rate * (grads + momentum * state if optimizer.nesterov else state)
        case Adagrad():
            state += grads * grads
            weights -= rate * grads / (np.sqrt(state) + np.float32(optimizer.eps))
        case RowAdagrad():
            state[:, 0] += _sum_of_squares(grads) / np.float32(weights.shape[1])
            weights -= (rate / (np.sqrt(state) + np.float32(optimizer.eps))) * grads
        case Adam() | AdamW():
            weights -= _adam(optimizer, np.float64(rate), state, grads)
        case FTRL():
            z, n = _halves(state)
            threshold, offset = _ftrl_numbers(optimizer)
            before = np.sqrt(n)
            n += grads * grads
            after = np.sqrt(n)
            z += rate * grads - (after - before) * weights
            excess = np.abs(z) - threshold
            weights[:] = np.where(excess <= 0, np.float32(0), np.copysign(excess, -z) / (after + offset))
        case LAMB():
            update = (
                _adam(optimizer, np.float64(1), state, grads) + np.float32(optimizer.weight_decay) * weights
            )
            ours, theirs = np.sqrt(_sum_of_squares(weights)), np.sqrt(_sum_of_squares(update))
            neither = (ours == 0) | (theirs == 0)
            trust = np.where(neither, _ONE, ours / np.where(neither, _ONE, theirs))
            weights -= (rate * trust)[:, None] * update
    if optimizer.max_norm is not None:
        _hold(weights, optimizer.max_norm)


def _hold(rows: Floats, most: float) -> None:
    """Scale the rows down whose L2 norm is above ``most``; those whose squares overflow are made smaller first."""
    with np.errstate(over="ignore"):
        norms = np.sqrt(_sum_of_squares(rows))
    huge = np.isinf(norms)
    rows[huge] *= np.float32(2.0**-80)
    norms[huge] = np.sqrt(_sum_of_squares(rows[huge]))
    above = huge | (norms > np.float32(most))
    rows[above] *= (np.float32(most) / norms[above])[:, None]


def _halves(state: Floats) -> tuple[Floats, Floats]:
    dim = state.shape[1] // 2
    return state[:, :dim], state[:, dim:]


def _ftrl_numbers(optimizer: FTRL) -> tuple[np.float32, np.float32]:
    """How far z must be from zero, and what is added to the root of n; both of the lr without schedule or scale."""
    return np.float32(optimizer.lr * optimizer.l1), np.float32(optimizer.beta + optimizer.lr * optimizer.l2)


def _adam(optimizer: Adam | AdamW | LAMB, lr: np.float64, state: Floats, grads: Floats) -> Floats:
    """Move the rows' counts and moments; return ``lr`` times the first without bias over the root of the second."""
    (first, second), count = _halves(state[:, :-1]), state[:, -1]
    beta1, beta2 = np.float32(optimizer.beta1), np.float32(optimizer.beta2)
    count += _ONE
    first[:] = beta1 * first + (_ONE - beta1) * grads
    second[:] = beta2 * second + (_ONE - beta2) * grads * grads
    steps = np.where(count >= 1, np.minimum(count, np.float32(2**24)), _ONE)  # puts may hold anything
    correction = (lr / (1 - _power(optimizer.beta1, steps))).astype(np.float32)
    root = np.sqrt(1 - _power(optimizer.beta2, steps)).astype(np.float32)
    moved: Floats = correction[:, None] * first
    moved /= np.sqrt(second) / root[:, None] + np.float32(optimizer.eps)
    return moved


def _sum_of_squares(rows: Floats) -> Floats:
    """Sum of squares of each row in the order of a 16-lane register: lanes first, then halves onto halves."""
    squares = np.zeros((len(rows), -(-rows.shape[1] // 16) * 16), np.float32)
    squares[:, : rows.shape[1]] = rows * rows
    lanes = np.zeros((len(rows), 16), np.float32)
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
