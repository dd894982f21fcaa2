import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.errors import ConfigError
from larix.feed import PowerProduct, RankEnsemble, WeightedSum

KINDS = (WeightedSum, PowerProduct, RankEnsemble)
values = st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0])
requests = st.integers(1, 12).flatmap(
    lambda n: st.fixed_dictionaries({name: st.lists(values, min_size=n, max_size=n) for name in "abc"})
)
weights = st.dictionaries(st.sampled_from("abc"), st.floats(-3, 3), min_size=1)


def oracle(fusion, request, item):
    """The value of one item, from the formula."""
    if isinstance(fusion, WeightedSum):
        return math.fsum(weight * request[name][item] for name, weight in fusion.weights.items())
    if isinstance(fusion, PowerProduct):
        return math.prod(max(request[n][item], fusion.floor) ** w for n, w in fusion.weights.items())
    return math.fsum(
        weight / (fusion.smoothing + 1 + sum(other > request[name][item] for other in request[name]))
        for name, weight in fusion.weights.items()
    )


@pytest.mark.parametrize("kind", KINDS)
@given(request=requests, weights=weights)
@settings(deadline=None)
def test_values_are_those_of_the_formula_and_shares_sum_to_them(kind, request, weights):
    fusion = kind(weights=weights)
    tasks = {name: np.array(column) for name, column in request.items()}
    shares = fusion.shares(tasks)
    assert shares.keys() == weights.keys()
    found = fusion.value(shares)
    total = np.sum(list(shares.values()), axis=0)
    np.testing.assert_allclose(np.log(found) if fusion.logarithmic else found, total, atol=1e-9)
    for item, value in enumerate(found):
        assert value == pytest.approx(oracle(fusion, request, item), rel=1e-9, abs=1e-12)


@given(request=requests, data=st.data())
@settings(deadline=None)
def test_an_ensemble_of_ranks_is_blind_to_scale_and_order(request, data):
    fusion = RankEnsemble(weights={"a": 1.0, "b": 2.0}, smoothing=1.0)
    tasks = {name: np.array(column) for name, column in request.items()}
    found = fusion.value(fusion.shares(tasks))
    scaled = {**tasks, "a": tasks["a"] * 1024}
    np.testing.assert_array_equal(fusion.value(fusion.shares(scaled)), found)
    order = np.array(data.draw(st.permutations(range(len(found)))))
    shuffled = {name: column[order] for name, column in tasks.items()}
    np.testing.assert_array_equal(fusion.value(fusion.shares(shuffled)), found[order])


def test_a_power_product_survives_a_prediction_of_nothing():
    fusion = PowerProduct(weights={"a": 1.0, "b": -0.5}, floor=1e-4)
    tasks = {"a": np.array([0.0, 0.5]), "b": np.array([0.04, 0.0])}
    np.testing.assert_allclose(fusion.value(fusion.shares(tasks)), [1e-4 * 5, 0.5 * 100])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", [math.nan, math.inf, "1", None, True])
def test_a_weight_is_a_finite_number(kind, weight):
    with pytest.raises(ConfigError, match="task 'like'"):
        kind(weights={"click": 1.0, "like": weight})
    with pytest.raises(ConfigError, match="no weights"):
        kind(weights={})


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_floor_and_smoothing_are_in_range(bad):
    with pytest.raises(ConfigError, match="floor"):
        PowerProduct(weights={"a": 1}, floor=bad)
    if bad != 0:
        with pytest.raises(ConfigError, match="smoothing"):
            RankEnsemble(weights={"a": 1}, smoothing=bad)


def test_weights_cannot_be_changed_behind_a_fusions_back():
    given = {"a": 1.0}
    fusion = WeightedSum(weights=given)
    given["a"] = 2.0
    assert fusion.weights == {"a": 1.0}
    with pytest.raises(TypeError):
        fusion.weights["a"] = 3.0
