import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from larix.serve.models.difference import Differences, rank_correlation

few = st.integers(1, 40).flatmap(
    lambda size: st.tuples(
        *[arrays(np.float32, size, elements=st.integers(-5, 5).map(float)) for _ in range(2)]
    )
)


@given(few)
def test_the_rank_correlation_is_spearmans(pair):
    ours = rank_correlation(*pair)
    if len(pair[0]) < 2 or any(np.ptp(each) == 0 for each in pair):
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(spearmanr(*pair).statistic, abs=1e-9)


@given(st.lists(few, max_size=5))
def test_sums_are_of_all_requests_together(pairs):
    differences = Differences()
    for answered, other in pairs:
        differences.add(answered, other)
    found = differences.sum_up()
    all_of = np.concatenate([other - answered for answered, other in pairs] or [np.zeros(0)])
    assert found.candidates == len(all_of)
    if not len(all_of):
        assert (found.mean, found.absolute, found.most) == (0, 0, 0)
        return
    assert found.mean == pytest.approx(all_of.mean(), abs=1e-9)
    assert found.absolute == pytest.approx(np.abs(all_of).mean())
    assert found.most == np.abs(all_of).max()
    for level, value in found.quantiles.items():
        assert value == pytest.approx(np.quantile(np.abs(all_of), level), abs=1e-6)


def test_quantiles_of_more_than_is_kept_are_near():
    random = np.random.default_rng(1)
    differences = Differences()
    for _ in range(200):
        size = random.exponential(size=1000).astype(np.float32)
        differences.add(np.zeros(1000, np.float32), size)
    found = differences.sum_up()
    assert found.candidates == 200_000
    for level, value in found.quantiles.items():
        assert value == pytest.approx(-math.log(1 - level), rel=0.05)


def test_a_request_without_candidates_changes_nothing():
    differences = Differences()
    differences.add(np.zeros(0, np.float32), np.zeros(0, np.float32))
    assert differences.sum_up().candidates == 0
    assert math.isnan(differences.sum_up().rank_correlation)
