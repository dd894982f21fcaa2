import json
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.errors import ConfigError
from larix.feed import Fusion, Isotonic, Platt, PowerProduct, RankEnsemble, ValueModel, WeightedSum
from larix.feed.serial import read, write

numbers = st.floats(-1e300, 1e300, allow_nan=False)
positive = st.floats(1e-300, 1e300)
names = st.text(min_size=1, max_size=4)
weights = st.dictionaries(names, numbers, min_size=1, max_size=3)
fusions = (
    st.builds(WeightedSum, weights=weights)
    | st.builds(PowerProduct, weights=weights, floor=positive)
    | st.builds(RankEnsemble, weights=weights, smoothing=positive)
)
curves = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5).map(
    lambda points: Isotonic(
        inputs=sorted({x for x, _ in points}),
        outputs=sorted(y for _, y in points)[: len({x for x, _ in points})],
    )
)
calibrations = curves | st.builds(Platt, slope=positive, intercept=numbers)


@given(
    fusion=fusions,
    scenes=st.dictionaries(st.integers(-(2**63), 2**63 - 1), fusions, max_size=3),
    data=st.data(),
)
@settings(deadline=None)
def test_a_model_comes_back_as_it_was(fusion, scenes, data):
    tasks = {name for each in (fusion, *scenes.values()) for name in each.weights}
    chosen = data.draw(st.dictionaries(st.sampled_from(sorted(tasks)), calibrations, max_size=3))
    model = ValueModel(fusion=fusion, scenes=scenes, calibration=chosen)
    assert read(write(model)) == model


def test_a_fusion_of_ones_own_works_but_is_not_written():
    class Largest(Fusion):
        weights: ClassVar[dict[str, float]] = {"click": 1.0}

        def shares(self, tasks):
            return {"click": tasks["click"]}

    model = ValueModel(fusion=Largest())
    assert model.value({"click": [0.5]}).tolist() == [0.5]
    with pytest.raises(ConfigError, match="a Largest cannot be written"):
        write(model)


GOOD = {"format": 1, "fusion": {"kind": "weighted_sum", "weights": {"click": 1}}}


def test_scenes_and_calibration_may_be_left_out():
    assert read(json.dumps(GOOD)) == ValueModel(fusion=WeightedSum(weights={"click": 1.0}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2"),
        ({"format": True}, "format True"),
        ({"fusion": None}, "fusion in JSON is an object, but got None"),
        ({"fusion": {"kind": "sum"}}, "fusion has kind 'sum'"),
        ({"fusion": {"kind": ["weighted_sum"]}}, "kind"),
        ({"fusion": {"kind": "weighted_sum"}}, "does not read as WeightedSum"),
        ({"fusion": {"kind": "weighted_sum", "weights": {}}}, "fusion: WeightedSum has no weights"),
        ({"fusion": {"kind": "weighted_sum", "weights": [1]}}, "of the wrong kind"),
        ({"fusion": {"kind": "weighted_sum", "weights": {"a": "1"}}}, "'1' in 'weights'"),
        ({"fusion": {"kind": "weighted_sum", "weights": {"a": True}}}, "True in 'weights'"),
        ({"fusion": {"kind": "weighted_sum", "weights": {"a": 10**400}}}, "fusion"),
        ({"fusion": {"kind": "weighted_sum", "weights": {"a": 1}, "floor": 1}}, r"unknown keys \['floor'\]"),
        ({"fusion": {"kind": "power_product", "weights": {"a": 1}, "floor": {}}}, "of the wrong kind"),
        ({"fusion": {"kind": "power_product", "weights": {"a": 1}, "floor": None}}, "None in 'floor'"),
        ({"scenes": []}, "scenes in JSON is an object"),
        ({"scenes": {"home": GOOD["fusion"]}}, "scene 'home'"),
        ({"scenes": {"01": GOOD["fusion"]}}, "scene '01'"),
        ({"scenes": {str(2**63): GOOD["fusion"]}}, "scene '9223372036854775808'"),
        ({"scenes": {"1": {"kind": "x"}}}, "scene 1 has kind 'x'"),
        ({"calibration": {"like": {"kind": "platt"}}}, "'like' is calibrated but"),
        ({"calibration": {"click": {"kind": "platt", "slope": -1}}}, "calibration of 'click': Platt"),
        ({"calibration": {"click": {"kind": "isotonic", "inputs": [1], "outputs": 1}}}, "wrong kind"),
        ({"calibration": {"click": {"kind": "isotonic", "inputs": [1]}}}, "does not read as Isotonic"),
        ({"weights": {}}, r"unknown keys \['weights'\]"),
    ],
)
def test_what_is_wrong_is_named(change, said):
    with pytest.raises(ConfigError, match=said):
        read(json.dumps(GOOD | change))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not parse"),
        ("[]", "is an object"),
        ('{"format": 1', "does not parse"),
        (json.dumps(GOOD).replace('"click": 1', '"click": 1, "click": 2'), r"\['click'\] given twice"),
        (json.dumps(GOOD).replace('"click": 1', '"click": NaN'), "NaN is no number"),
        (json.dumps(GOOD).replace('"click": 1', '"click": 1e999'), "finite"),
        ("[" * 100_000, "does not parse"),
    ],
)
def test_text_that_is_no_value_model_is_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        read(text)
