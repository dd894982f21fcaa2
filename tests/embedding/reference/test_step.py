"""The optimizers of both stores against torch's on a dense copy, and against their formulas."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from larix.embedding import (
    FTRL,
    LAMB,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Constant,
    Momentum,
    RowAdagrad,
    TableSpec,
    Warmup,
)

ROWS, STEPS = 50, 20
ALL = [SGD, Momentum, Adagrad, RowAdagrad, Adam, AdamW, FTRL, LAMB]


def run(store, optimizer, dim=16, size=1.0, **settings):
    """Touch all rows in every step; return first weights, all gradients, last weights and last state."""
    tables = store([TableSpec(name="a", dim=dim, optimizer=optimizer, **settings)])
    ids, rng = np.arange(ROWS), np.random.default_rng(3)
    first = tables.lookup("a", ids, insert=True)
    grads = (size * rng.standard_normal((STEPS, ROWS, dim))).astype(np.float32)
    for grad in grads:
        tables.update("a", ids, grad)
    return first, grads, *tables.read("a", ids)


def assert_close(ours, theirs):
    """Another order of the same operations: a few units in the last place of float32 a step, no more."""
    np.testing.assert_allclose(ours, theirs, rtol=STEPS * 2**-22, atol=STEPS * 2**-24)


def norms(rows):
    return np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)


@pytest.mark.parametrize("dim", [1, 3, 16, 17, 33, 100])
@pytest.mark.parametrize(
    ("optimizer", "peer"),
    [
        (SGD(lr=0.1), lambda weights: torch.optim.SGD(weights, lr=0.1)),
        (
            SGD(lr=0.1, weight_decay=0.3),
            lambda weights: torch.optim.SGD(weights, lr=0.1, weight_decay=0.3),
        ),
        (
            Momentum(lr=0.1, momentum=0.7, weight_decay=0.3),
            lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.7, weight_decay=0.3),
        ),
        (
            Momentum(lr=0.1, momentum=0.7, nesterov=True),
            lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.7, nesterov=True),
        ),
        (
            Adagrad(lr=0.1, eps=1e-6, initial=0.5, weight_decay=0.2),
            lambda weights: torch.optim.Adagrad(
                weights, lr=0.1, eps=1e-6, initial_accumulator_value=0.5, weight_decay=0.2
            ),
        ),
        (
            Adam(lr=0.01, beta1=0.8, beta2=0.95, weight_decay=0.2),
            lambda weights: torch.optim.Adam(weights, lr=0.01, betas=(0.8, 0.95), weight_decay=0.2),
        ),
        (
            AdamW(lr=0.01, beta1=0.8, beta2=0.95, weight_decay=0.5),
            lambda weights: torch.optim.AdamW(weights, lr=0.01, betas=(0.8, 0.95), weight_decay=0.5),
        ),
    ],
)
def test_an_optimizer_agrees_with_that_of_torch(store, optimizer, peer, dim):
    first, grads, last, _ = run(store, optimizer, dim)
    weights = torch.nn.Parameter(torch.from_numpy(first.copy()))
    stepper = peer([weights])
    for grad in grads:
        weights.grad = torch.from_numpy(grad)
        stepper.step()
    assert_close(last, weights.detach().numpy())


def test_a_schedule_agrees_with_that_of_torch(store):
    first, grads, last, _ = run(store, Adam(lr=0.01, schedule=Warmup(steps=8)))
    weights = torch.nn.Parameter(torch.from_numpy(first.copy()))
    stepper = torch.optim.Adam([weights], lr=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(stepper, lambda step: min((step + 1) / 8, 1))
    for grad in grads:
        weights.grad = torch.from_numpy(grad)
        stepper.step()
        schedule.step()
    assert_close(last, weights.detach().numpy())


@pytest.mark.parametrize("dim", [1, 17, 100])
def test_row_adagrad_agrees_with_its_formula_in_double_precision(store, dim):
    first, grads, last, state = run(store, RowAdagrad(lr=0.1, initial=0.25, weight_decay=0.1), dim)
    weights, sums = first.astype(np.float64), np.full((ROWS, 1), 0.25)
    for grad in grads.astype(np.float64) + 0:
        grad = grad + 0.1 * weights
        sums += (grad * grad).mean(axis=1, keepdims=True)
        weights -= 0.1 * grad / (np.sqrt(sums) + 1e-8)
    assert_close(state, sums)
    assert_close(last, weights)


@pytest.mark.parametrize("dim", [1, 17, 100])
def test_ftrl_agrees_with_the_papers_algorithm_in_double_precision(store, dim):
    """Algorithm 1 of McMahan et al. (2013), column by column, from z of the first weights; ours keeps z times alpha."""
    alpha, beta, l1, l2 = 0.3, 0.5, 0.04, 0.7
    settings = FTRL(lr=alpha, beta=beta, l1=l1, l2=l2, initial=0.1)
    first, grads, last, state = run(store, settings, dim, size=0.05)
    weights, n = first.astype(np.float64), np.full(first.shape, 0.1)
    z = -weights * ((beta + np.sqrt(n)) / alpha + l2) - np.sign(weights) * l1
    for grad in grads.astype(np.float64):
        sigma = (np.sqrt(n + grad**2) - np.sqrt(n)) / alpha
        z += grad - sigma * weights
        n += grad**2
        weights = -(z - np.sign(z) * l1) / ((beta + np.sqrt(n)) / alpha + l2)
        weights[np.abs(z) <= l1] = 0
    assert_close(state, np.concatenate([alpha * z, n], axis=1))
    assert np.array_equal(last == 0, weights == 0)
    assert 0.001 < (last == 0).mean() < 0.9  # both branches are taken
    assert_close(last, weights)


def test_ftrl_without_penalties_is_adagrad_from_whatever_weights_a_row_is_born_with(store):
    _, _, ftrl, _ = run(store, FTRL(lr=0.1, beta=0.25, initial=0.5))
    _, _, adagrad, _ = run(store, Adagrad(lr=0.1, eps=0.25, initial=0.5))
    np.testing.assert_allclose(ftrl, adagrad, rtol=1e-5, atol=1e-6)


def test_ftrl_leaves_a_new_row_and_one_at_lr_scale_zero_where_they_are(store):
    tables = store([TableSpec(name="a", dim=16, optimizer=FTRL(lr=0.1, l1=0.2, l2=0.3))])
    ids, grads = np.arange(ROWS), np.full((ROWS, 16), 3.0, np.float32)
    first = tables.lookup("a", ids, insert=True)
    tables.update("a", ids, 0 * grads)
    assert_close(tables.lookup("a", ids), first)
    tables.update("a", ids, grads, lr_scale=0.0)
    np.testing.assert_allclose(tables.lookup("a", ids), first, rtol=1e-4, atol=1e-6)


def test_ftrl_keeps_a_row_born_zero_at_zero_until_its_gradients_outweigh_l1(store):
    tables = store([TableSpec(name="a", dim=1, optimizer=FTRL(lr=0.1, l1=2.5), init=Constant())])
    ids, seen = np.array([1]), []
    tables.lookup("a", ids, insert=True)
    for _ in range(4):
        tables.update("a", ids, np.ones((1, 1), np.float32))
        seen.append(float(tables.lookup("a", ids)[0, 0]))
    assert seen[:2] == [0, 0]
    assert seen[3] < seen[2] < 0


@pytest.mark.parametrize("dim", [1, 17, 100])
def test_lamb_agrees_with_its_formula_in_double_precision(store, dim):
    first, grads, last, _ = run(store, LAMB(lr=0.02, beta1=0.8, beta2=0.95, weight_decay=0.3), dim)
    weights = first.astype(np.float64)
    m, v = np.zeros(first.shape), np.zeros(first.shape)
    for t, grad in enumerate(grads.astype(np.float64), 1):
        m, v = 0.8 * m + 0.2 * grad, 0.95 * v + 0.05 * grad**2
        update = (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6) + 0.3 * weights
        weights -= 0.02 * norms(weights) / norms(update) * update
    assert_close(last, weights)


def test_lamb_steps_a_row_of_zeros_as_if_it_trusted_it(store):
    _, _, last, _ = run(store, LAMB(lr=0.5, weight_decay=0.0), init=Constant())
    assert (last != 0).all()


def test_lazy_decay_touches_no_row_without_a_gradient(store):
    tables = store([TableSpec(name="a", dim=4, optimizer=AdamW(lr=0.1, weight_decay=0.5))])
    first = tables.lookup("a", np.arange(2), insert=True)
    for _ in range(3):
        tables.update("a", np.array([1]), np.zeros((1, 4), np.float32))
    last = tables.lookup("a", np.arange(2))
    assert np.array_equal(last[0], first[0])
    np.testing.assert_allclose(last[1], first[1] * 0.95**3, rtol=1e-6)


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


@pytest.mark.parametrize("kind", [Adam, AdamW, LAMB])
@pytest.mark.parametrize("count", [-5.0, np.nan, np.inf, 1e30])
def test_a_step_count_that_cannot_be_hangs_nothing_and_is_taken_for_one_that_can(store, kind, count):
    tables = store([TableSpec(name="a", dim=2, optimizer=kind())])
    state = np.array([[0, 0, 0, 0, count]], np.float32)
    tables.put("a", np.array([1]), np.ones((1, 2), np.float32), state)
    tables.update("a", np.array([1]), np.ones((1, 2), np.float32))
    assert np.isfinite(tables.lookup("a", np.array([1]))).all()


@pytest.mark.parametrize("dim", [1, 3, 17, 100])
@pytest.mark.parametrize("kind", ALL)
def test_a_clipped_gradient_steps_as_one_of_that_norm_and_a_small_one_is_left_alone(store, kind, dim):
    plain, clipped = (
        store([TableSpec(name="a", dim=dim, optimizer=o)]) for o in (kind(), kind(clip_grad=2.0))
    )
    rng, ids = np.random.default_rng(0), np.arange(ROWS)
    grads = rng.standard_normal((ROWS, dim))
    grads *= np.where(ids % 2, 1.5, 50.0)[:, None] / norms(grads)
    small = grads * np.where(ids % 2, 1.0, 0.04)[:, None]
    for tables, given in ((plain, small), (clipped, grads)):
        tables.lookup("a", ids, insert=True)
        tables.update("a", ids, given.astype(np.float32))
    ours, expected = clipped.lookup("a", ids), plain.lookup("a", ids)
    assert np.array_equal(ours[1::2], expected[1::2])
    assert_close(ours, expected)


def test_the_sum_of_a_rows_gradients_is_clipped_not_each_of_them(store):
    tables = store([TableSpec(name="a", dim=1, optimizer=SGD(lr=1.0, clip_grad=1.0), init=Constant())])
    ids = np.array([5, 5, 5])
    tables.lookup("a", ids, insert=True)
    tables.update("a", ids, np.array([[0.75], [0.75], [-1.0]], np.float32))
    assert tables.lookup("a", ids)[0, 0] == -0.5


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e19, 3e38])
def test_a_gradient_is_clipped_whatever_its_size(store, size):
    """Squares of the larger ones are beyond float32."""
    grads = np.array([[3, -4, 0, 0, 0], [0, 0.1, 0, 0, 0]], np.float32) / np.float32(4) * np.float32(size)
    tables = store([TableSpec(name="a", dim=5, optimizer=SGD(lr=1.0, clip_grad=1e-3), init=Constant())])
    tables.lookup("a", np.arange(2), insert=True)
    tables.update("a", np.arange(2), grads)
    last = tables.lookup("a", np.arange(2)).astype(np.float64)
    expected = -grads.astype(np.float64)
    expected *= np.minimum(1, 1e-3 / norms(expected))
    np.testing.assert_allclose(last, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ALL)
def test_weights_are_held_at_max_norm_after_a_step(store, kind):
    _, _, free, _ = run(store, kind(lr=0.1))
    _, _, held, _ = run(store, kind(lr=0.1, max_norm=0.3))
    assert (norms(free) > 0.31).any()
    assert (norms(held) < 0.3 * (1 + 1e-6)).all()
    assert (norms(held) > 0.05).all()


def test_a_row_beyond_max_norm_keeps_its_direction(store):
    tables = store([TableSpec(name="a", dim=3, optimizer=SGD(max_norm=2.0))])
    ids, weights = np.arange(2), np.array([[3, -4, 12], [0.5, 0, 0.25]], np.float32)
    tables.put("a", ids, weights, np.zeros((2, 0), np.float32))
    tables.update("a", ids, 0 * weights)
    np.testing.assert_allclose(
        tables.lookup("a", ids), [[6 / 13, -8 / 13, 24 / 13], [0.5, 0, 0.25]], rtol=1e-6
    )


def test_lr_scale_multiplies_lr(store):
    scaled, plain = (store([TableSpec(name="a", dim=4, optimizer=SGD(lr=lr))]) for lr in (0.25, 0.5))
    ids, grads = np.arange(9), np.ones((9, 4), np.float32)
    for tables, scale in ((scaled, 2.0), (plain, 1.0)):
        tables.lookup("a", ids, insert=True)
        tables.update("a", ids, grads, lr_scale=scale)
    assert np.array_equal(scaled.lookup("a", ids), plain.lookup("a", ids))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_no_number_shows_in_the_weights(store, kind, bad):
    """It must not be taken for zero: whoever trains finds it where it went."""
    for optimizer in (kind(), replace(kind(), clip_grad=1.0, max_norm=1.0)):
        tables = store([TableSpec(name="a", dim=3, optimizer=optimizer)])
        tables.lookup("a", np.arange(2), insert=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            tables.update("a", np.arange(2), np.array([[1, bad, 1], [1, 1, 1]], np.float32))
        last = tables.lookup("a", np.arange(2))
        assert not np.isfinite(last[0]).all()
        assert np.isfinite(last[1]).all()


def test_gradients_of_repeated_ids_are_summed_as_numpy_sums_them(store):
    tables, rng = store([TableSpec(name="a", dim=3, optimizer=SGD(lr=1.0))]), np.random.default_rng(0)
    ids = rng.integers(0, 5, 1000)
    grads = rng.standard_normal((1000, 3)).astype(np.float32)
    before = tables.lookup("a", np.arange(5), insert=True)
    tables.update("a", ids, grads)
    summed = np.zeros((5, 3), np.float32)
    np.add.at(summed, ids, grads)
    assert np.array_equal(tables.lookup("a", np.arange(5)), before - summed)
