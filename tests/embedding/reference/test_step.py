"""The optimizers of both stores against torch's on a dense copy, and against their formulas."""

import numpy as np
import pytest
import torch

from larix.embedding import SGD, Adagrad, Adam, RowAdagrad, TableSpec

ROWS, DIM, STEPS = 50, 16, 20


def run(store, optimizer):
    """Touch all rows in every step; return first weights, all gradients, last weights and last state."""
    tables, rng = store([TableSpec(name="a", dim=DIM, optimizer=optimizer)]), np.random.default_rng(3)
    ids = np.arange(ROWS)
    first = tables.lookup("a", ids, insert=True)
    grads = rng.standard_normal((STEPS, ROWS, DIM)).astype(np.float32)
    for grad in grads:
        tables.update("a", ids, grad)
    return first, grads, *tables.read("a", ids)


def assert_close(ours, theirs):
    """Another order of the same operations: a few units in the last place of float32 a step, no more."""
    np.testing.assert_allclose(ours, theirs, rtol=STEPS * 2**-22, atol=STEPS * 2**-24)


@pytest.mark.parametrize(
    ("optimizer", "peer"),
    [
        (SGD(lr=0.1), lambda weights: torch.optim.SGD(weights, lr=0.1)),
        (
            Adagrad(lr=0.1, eps=1e-6, initial=0.5),
            lambda weights: torch.optim.Adagrad(weights, lr=0.1, eps=1e-6, initial_accumulator_value=0.5),
        ),
        (
            Adam(lr=0.01, beta1=0.8, beta2=0.95),
            lambda weights: torch.optim.Adam(weights, lr=0.01, betas=(0.8, 0.95)),
        ),
    ],
)
def test_an_optimizer_agrees_with_that_of_torch(store, optimizer, peer):
    first, grads, last, _ = run(store, optimizer)
    weights = torch.nn.Parameter(torch.from_numpy(first.copy()))
    stepper = peer([weights])
    for grad in grads:
        weights.grad = torch.from_numpy(grad)
        stepper.step()
    assert_close(last, weights.detach().numpy())


def test_row_adagrad_agrees_with_its_formula_in_double_precision(store):
    first, grads, last, state = run(store, RowAdagrad(lr=0.1, initial=0.25))
    weights, sums = first.astype(np.float64), np.full((ROWS, 1), 0.25)
    for grad in grads.astype(np.float64):
        sums += (grad * grad).mean(axis=1, keepdims=True)
        weights -= 0.1 * grad / (np.sqrt(sums) + 1e-8)
    assert_close(state, sums)
    assert_close(last, weights)


def test_adam_corrects_each_row_by_its_own_count(store):
    tables = store([TableSpec(name="a", dim=2, optimizer=Adam(lr=0.5))])
    first = tables.lookup("a", np.array([1, 2]), insert=True)
    for _ in range(3):
        tables.update("a", np.array([1]), np.ones((1, 2), np.float32))
    tables.update("a", np.array([2]), np.ones((1, 2), np.float32))
    assert tables.read("a", np.array([1, 2]))[1][:, -1].tolist() == [3, 1]
    np.testing.assert_allclose(
        first - tables.lookup("a", np.array([1, 2])), [[1.5, 1.5], [0.5, 0.5]], rtol=1e-5
    )


def test_lr_scale_multiplies_lr(store):
    scaled, plain = (store([TableSpec(name="a", dim=4, optimizer=SGD(lr=lr))]) for lr in (0.25, 0.5))
    ids, grads = np.arange(9), np.ones((9, 4), np.float32)
    for tables, scale in ((scaled, 2.0), (plain, 1.0)):
        tables.lookup("a", ids, insert=True)
        tables.update("a", ids, grads, lr_scale=scale)
    assert np.array_equal(scaled.lookup("a", ids), plain.lookup("a", ids))


def test_gradients_of_repeated_ids_are_summed_as_numpy_sums_them(store):
    tables, rng = store([TableSpec(name="a", dim=3, optimizer=SGD(lr=1.0))]), np.random.default_rng(0)
    ids = rng.integers(0, 5, 1000)
    grads = rng.standard_normal((1000, 3)).astype(np.float32)
    before = tables.lookup("a", np.arange(5), insert=True)
    tables.update("a", ids, grads)
    summed = np.zeros((5, 3), np.float32)
    np.add.at(summed, ids, grads)
    assert np.array_equal(tables.lookup("a", np.arange(5)), before - summed)
