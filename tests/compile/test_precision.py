from functools import cache

import numpy as np
import pytest
import torch
from nets import Sketch, dense, experts, feed, outputs
from sklearn.metrics import roc_auc_score

from larix.compile import Bound, Precision, Samples, capture, choose, everywhere, ops
from larix.compile.graph import Ref
from larix.compile.precision import auc, measured
from larix.errors import ConfigError


def samples(graph, rows=400, labels=None):
    return Samples(arrays=feed(graph, rows, requests=rows), labels=labels)


@cache
def net():
    return capture(experts(), {"x": torch.randn(4, 12)})


def test_auc_is_the_share_of_pairs_in_order_with_ties():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 20, 300), rng.integers(0, 2, 300)
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_calibration_is_measured_by_task_and_only_where_labels_are_0_and_1():
    exact = np.zeros((4, 2), np.float32)
    ours = exact + np.array([0.0, 0.1], np.float32)
    labels = np.array([[0, 3.0], [1, 4.0], [0, 0.0], [1, 0.0]], np.float32)
    found = measured(ours, exact, labels)
    assert found["error"] == pytest.approx(0.1)
    assert (found["auc_loss"], found["calibration"]) == (0, 0)
    labels[:, 1] = [0, 1, 0, 1]
    assert measured(ours, exact, labels)["calibration"] == pytest.approx(1 / (1 + np.exp(-0.1)) / 0.5 - 1)


def test_a_wide_bound_takes_the_cheapest_kind_and_says_what_it_cost():
    graph = net()
    chosen = choose(graph, samples(graph), Bound(error=1.0, auc_loss=None, calibration=None))
    assert set(chosen.units.values()) >= {"int8"}
    assert 0 < chosen.measured["error"] <= 1.0


def test_what_inputs_have_lost_already_counts_against_the_bound():
    """Inputs that were rounded: half of the bound is gone before a product is, and all of it leaves none."""
    graph = net()
    whole = samples(graph)
    exact = outputs(graph, whole.arrays, whole.rows)["output"]
    rounded = {name: np.round(array, 1) for name, array in whole.arrays.items()}
    lost = float(np.abs(outputs(graph, rounded, whole.rows)["output"] - exact).max())
    given = Samples(arrays=rounded, exact=exact)
    chosen = choose(graph, given, Bound(error=2 * lost, auc_loss=None, calibration=None))
    assert chosen.units
    assert lost / 2 < chosen.measured["error"] <= 2 * lost
    none = choose(graph, given, Bound(error=lost / 2, auc_loss=None, calibration=None))
    assert not none.units
    assert none.measured["error"] == pytest.approx(lost, rel=1e-4)


def test_a_bound_that_nothing_meets_leaves_all_in_fp32():
    graph = net()
    chosen = choose(graph, samples(graph), Bound(error=1e-9, auc_loss=None, calibration=None))
    assert chosen.units == {}
    assert chosen.measured["error"] == 0


def test_only_the_product_that_the_bound_forbids_stays_in_fp32():
    """One of two columns is scaled up by 1000 behind its Linear: its rounding alone breaks the bound."""
    sketch = Sketch(dense(c=8))
    fine, coarse = sketch.linear(Ref("x"), 1), sketch(ops.MUL, sketch.linear(Ref("x"), 1), 1000.0)
    graph = sketch.graph(sketch(ops.CAT, (fine, coarse), 1))
    bound = Bound(error=0.05, auc_loss=None, calibration=None)
    chosen = choose(graph, samples(graph), bound, offered=("bf16",))
    assert chosen.units == {fine.name: "bf16"}
    assert chosen.measured["error"] <= 0.05


def test_the_bound_on_auc_and_calibration_is_kept():
    graph = net()
    given = samples(graph, 1000)
    exact = outputs(graph, given.arrays, given.rows)["output"]
    labels = (np.random.default_rng(1).random(exact.shape) < 1 / (1 + np.exp(-exact))).astype(np.float32)
    chosen = choose(graph, Samples(arrays=given.arrays, labels=labels), Bound())
    assert chosen.measured["auc_loss"] <= 0.0005
    assert chosen.measured["calibration"] <= 0.01
    assert chosen.units


def test_a_bound_on_auc_without_labels_is_refused():
    graph = net()
    with pytest.raises(ConfigError, match="cannot be measured without labels"):
        choose(graph, samples(graph), Bound())


@pytest.mark.parametrize(
    "wrong", [{"auc_loss": None, "calibration": None}, {"error": -1.0}, {"error": float("nan")}]
)
def test_a_bound_that_bounds_nothing_is_refused(wrong):
    with pytest.raises(ConfigError, match="bounds nothing"):
        Bound(**wrong)


def test_unknown_kinds_and_int8_without_samples_are_refused():
    graph = net()
    with pytest.raises(ConfigError, match="no precision 'fp8'"):
        everywhere(graph, "fp8")
    with pytest.raises(ConfigError, match="int8 needs samples"):
        everywhere(graph, "int8")
    with pytest.raises(ConfigError, match=r"no precision \['fp8'\]"):
        choose(graph, samples(graph), Bound(error=1.0), offered=("fp8",))


def test_a_precision_comes_back_from_json():
    given = Precision(units={"a": "int8"}, ranges={"a": (-1.5, 2.0)}, measured={"error": 0.25})
    assert Precision.from_json(given.to_json()) == given
