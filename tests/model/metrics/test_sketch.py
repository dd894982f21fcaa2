import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from larix.model.metrics import Sketch


def ones(n):
    return np.ones(n, np.float32)


def sketched(scores, labels, weights=None, parts=7, bins=1 << 16):
    sketch = Sketch(bins)
    weights = ones(len(scores)) if weights is None else weights
    for rows in np.array_split(np.arange(len(scores)), parts):
        sketch.add(scores[rows], labels[rows], weights[rows], np.full(len(rows), 0.5))
    return sketch


N = 300_000
SHAPES = {
    "normal": lambda rng: rng.normal(size=N),
    "heavy tails": lambda rng: rng.standard_cauchy(N) * 1e6,
    "crowded near one": lambda rng: 1 + 1e-3 * rng.random(N),
    "tiny on both sides of zero": lambda rng: rng.choice([-1e-30, 1e-30], N) * rng.random(N),
    "ascending": lambda rng: np.sort(rng.normal(size=N)),
    "descending": lambda rng: np.sort(rng.normal(size=N))[::-1],
    "fifty values": lambda rng: rng.integers(0, 50, N),
    "all equal": lambda rng: np.ones(N),
    "one spike and a spread": lambda rng: np.where(rng.random(N) < 0.7, 0.25, rng.normal(size=N)),
    "two far clusters": lambda rng: rng.choice([-80.0, 80.0], N) + rng.normal(size=N) * 1e-3,
}


@pytest.mark.parametrize("rate", [0.4, 0.002])
@pytest.mark.parametrize("shape", SHAPES)
def test_auc_of_a_stream_equals_scikit_learn_within_1e_4(shape, rate):
    rng = np.random.default_rng(7)
    scores = SHAPES[shape](rng).astype(np.float32)
    rank = np.argsort(np.argsort(scores)) / N
    labels = (rng.random(N) < rate * 2 * rank).astype(np.float32)
    sketch = sketched(scores, labels)
    exact = roc_auc_score(labels, scores)
    assert sketch.auc() == pytest.approx(exact, abs=1e-4)
    assert abs(sketch.auc() - exact) <= sketch.auc_error() + 1e-12
    assert sketch.auc_error() < 1e-4
    assert len(sketch.lo) <= sketch.bins


@settings(deadline=None, max_examples=80)
@given(
    scores=hnp.arrays(
        np.float32,
        st.integers(4, 400),
        elements=st.floats(-(2.0**99), 2.0**99, width=32) | st.sampled_from([0.0, -0.0, 1.0]),
    ),
    seed=st.integers(0, 1000),
    bins=st.sampled_from([8, 64, 1 << 16]),
)
def test_the_stated_auc_error_holds_for_any_scores_weights_and_number_of_bins(scores, seed, bins):
    rng = np.random.default_rng(seed)
    labels = (rng.random(len(scores)) < 0.5).astype(np.float32)
    labels[:2] = [0, 1]
    weights = rng.integers(1, 5, len(scores)).astype(np.float32)
    sketch = sketched(scores, labels, weights, parts=3, bins=bins)
    exact = roc_auc_score(labels, scores, sample_weight=weights)
    assert len(sketch.lo) <= bins
    assert abs(sketch.auc() - exact) <= sketch.auc_error() + 1e-9
    if bins > len(scores):
        assert sketch.auc_error() == 0
    assert sketch.mass[:, :2].sum() == pytest.approx(weights.sum())


def test_scores_that_crowd_into_a_merged_bin_are_admitted_by_the_auc_error():
    rng = np.random.default_rng(0)
    wide = rng.normal(size=5000).astype(np.float32)
    crowd = (1.0 + 1e-5 * rng.random(50_000)).astype(np.float32)
    scores = np.r_[wide, crowd]
    labels = np.r_[rng.random(5000) < 0.5, np.argsort(np.argsort(crowd)) > 25_000].astype(np.float32)
    sketch = sketched(scores, labels, parts=11, bins=256)
    exact = roc_auc_score(labels, scores)
    assert abs(sketch.auc() - exact) > 0.01, "the case is meant to be hard"
    assert abs(sketch.auc() - exact) <= sketch.auc_error()


def test_merged_sketches_rank_as_one_that_saw_everything():
    rng = np.random.default_rng(3)
    scores = rng.normal(size=400_000).astype(np.float32)
    scores[200_000:] *= 2
    labels = (rng.random(len(scores)) < 1 / (1 + np.exp(-scores))).astype(np.float32)
    left, right = sketched(scores[:200_000], labels[:200_000]), sketched(scores[200_000:], labels[200_000:])
    left.merge(right)
    exact = roc_auc_score(labels, scores)
    assert left.auc() == pytest.approx(exact, abs=1e-4)
    assert abs(left.auc() - exact) <= left.auc_error() < 1e-4
