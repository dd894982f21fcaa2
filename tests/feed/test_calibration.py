import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from larix.errors import ConfigError, DataError
from larix.feed import Isotonic, Platt, fit_isotonic, fit_platt


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def samples(count=4000, slope=0.6, intercept=-1.0, seed=0):
    """Probabilities of a model that is too sure of itself, labels, and weights."""
    random = np.random.default_rng(seed)
    logits = random.normal(-1, 1.5, count)
    labels = random.random(count) < sigmoid(slope * logits + intercept)
    return sigmoid(logits), labels.astype(float), random.integers(0, 4, count).astype(float)


def likelihood(probabilities, labels, weights):
    """Platt's loss as a function of (slope, intercept), from the formula."""
    logits = np.log(probabilities / (1 - probabilities))
    positives, negatives = (weights * labels).sum(), (weights * (1 - labels)).sum()
    target = labels * (positives + 1) / (positives + 2) + (1 - labels) / (negatives + 2)

    def loss(at):
        q = sigmoid(at[0] * logits + at[1])
        return -(weights * (target * np.log(q) + (1 - target) * np.log(1 - q))).sum() / weights.sum()

    return loss


def test_platt_finds_the_curve_that_labels_were_drawn_by():
    fitted = fit_platt(*samples(200_000)[:2])
    assert fitted.slope == pytest.approx(0.6, abs=0.02)
    assert fitted.intercept == pytest.approx(-1.0, abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_platt_finds_the_highest_likelihood_that_a_general_optimiser_finds(seed):
    p, y, w = samples(300, seed=seed)
    fitted, loss = fit_platt(p, y, w), likelihood(p, y, w)
    best = minimize(loss, [1.0, 0.0], method="BFGS", options={"gtol": 1e-9})
    assert loss([fitted.slope, fitted.intercept]) <= best.fun + 1e-10
    np.testing.assert_allclose([fitted.slope, fitted.intercept], best.x, atol=1e-4)


def test_platt_of_labels_that_can_be_told_apart_is_finite():
    fitted = fit_platt([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])
    assert math.isfinite(fitted.slope)
    assert fitted(0.9) > 0.7
    fitted = fit_platt([0.0, 1.0], [0, 1])  # probabilities that have no logit
    assert 0 < fitted(0.0) < 0.5 < fitted(1.0) < 1


def test_platt_refuses_what_cannot_be_calibrated():
    p, y, _ = samples(500)
    with pytest.raises(DataError, match="labels fall"):
        fit_platt(p, 1 - y)
    with pytest.raises(DataError, match="one kind"):
        fit_platt(p, np.ones_like(p))
    with pytest.raises(DataError, match="labels fall"):
        fit_platt([0.5, 0.5, 0.5], [0, 1, 0])


weighted = st.lists(
    st.tuples(st.integers(0, 12).map(lambda n: n / 12), st.integers(0, 1), st.integers(0, 5)),
    min_size=1,
    max_size=40,
).filter(lambda rows: any(weight for *_, weight in rows))


@given(rows=weighted)
@settings(max_examples=300, deadline=None)
def test_isotonic_equals_the_published_implementation(rows):
    p, y, w = np.array(rows, float).T
    oracle = IsotonicRegression(out_of_bounds="clip").fit(p[w > 0], y[w > 0], sample_weight=w[w > 0])
    fitted, grid = fit_isotonic(p, y, w), np.linspace(0, 1, 49)
    np.testing.assert_allclose(fitted(grid), oracle.predict(grid), atol=1e-12)


@given(rows=weighted)
@settings(max_examples=200, deadline=None)
def test_isotonic_keeps_the_mean_and_never_falls(rows):
    p, y, w = np.array(rows, float).T
    curve = fit_isotonic(p, y, w)
    assert np.average(curve(p), weights=w) == pytest.approx(np.average(y, weights=w))
    assert (np.diff(curve(np.linspace(0, 1, 100))) >= 0).all()


def test_isotonic_of_many_samples_has_few_points_and_calibrates():
    p, y, _ = samples(200_000)
    fitted = fit_isotonic(p, y)
    assert len(fitted.inputs) < 1000
    for low in np.arange(0, 0.9, 0.1):
        part = (p >= low) & (p < low + 0.1)
        assert fitted(p[part]).mean() == pytest.approx(y[part].mean(), abs=0.02)


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (([0.5, 1.5], [0, 1]), r"probabilities\[1\] is 1.5"),
        (([0.5, math.nan], [0, 1]), r"probabilities\[1\] is nan"),
        (([0.5, 0.6], [0, 2]), r"labels\[1\] is 2"),
        (([0.5, 0.6], [0, 1, 1]), "shapes"),
        (([[0.5, 0.6]], [[0, 1]]), "shapes"),
        (([0.5, 0.6], [0, 1], [1, -1]), "weights"),
        (([0.5, 0.6], [0, 1], [0, 0]), "weights"),
        (([], []), "weights"),
    ],
)
def test_what_is_no_sample_is_refused(fit, args, said):
    with pytest.raises(DataError, match=said):
        fit(*args)


@pytest.mark.parametrize(
    "bad", [{"slope": 0.0}, {"slope": -1.0}, {"slope": math.inf}, {"intercept": math.nan}]
)
def test_a_platt_rises(bad):
    with pytest.raises(ConfigError, match="slope"):
        Platt(**bad)


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ((), ()),
        ((0.1,), (0.1, 0.2)),
        ((0.2, 0.1), (0.1, 0.2)),
        ((0.1, 0.1), (0.1, 0.2)),
        ((0.1, 0.2), (0.2, 0.1)),
        ((0.1, 0.2), (0.2, 1.1)),
        ((0.1, 0.2), (-0.1, 0.2)),
        ((0.1, math.nan), (0.1, 0.2)),
        ((0.1, 0.2), (math.nan, 0.2)),
        ((0.1, 0.15, 0.2), (0.1, math.nan, 0.2)),
    ],
)
def test_an_isotonic_is_a_rising_curve(inputs, outputs):
    with pytest.raises(ConfigError, match="Isotonic"):
        Isotonic(inputs=inputs, outputs=outputs)


def test_calibrations_keep_order_and_the_unit_interval():
    grid = np.linspace(0, 1, 101)
    for curve in (Platt(slope=3.0, intercept=1.0), Platt(slope=0.01), fit_isotonic(*samples(500))):
        out = curve(grid)
        assert out.shape == grid.shape
        assert ((out >= 0) & (out <= 1)).all()
        assert (np.diff(out) >= 0).all()
