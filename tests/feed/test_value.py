import json
import math

import numpy as np
import pytest

from larix.errors import ConfigError, DataError
from larix.feed import Isotonic, Platt, PowerProduct, RankEnsemble, ValueModel, WeightedSum

MODEL = ValueModel(
    fusion=WeightedSum(weights={"click": 1.0, "play": 0.1}),
    scenes={
        1: PowerProduct(weights={"click": 1.0, "like": 2.0}),
        -(2**63): RankEnsemble(weights={"like": 1.0}),
    },
    calibration={"click": Platt(slope=0.5), "like": Isotonic(inputs=(0.0, 1.0), outputs=(0.0, 0.5))},
)
GIVEN = {"click": [0.5, 0.8], "like": [0.2, 0.4], "play": [30.0, 2.0]}


def test_the_scene_chooses_the_fusion_of_calibrated_predictions():
    click, like = np.array([0.5, 1 / (1 + math.sqrt(0.25))]), np.array([0.1, 0.2])
    for scene in (None, 7):
        np.testing.assert_allclose(MODEL.value(GIVEN, scene), click + np.array([3.0, 0.2]))
    np.testing.assert_allclose(MODEL.value(GIVEN, 1), click * like**2)
    np.testing.assert_allclose(MODEL.value(GIVEN, -(2**63)), [1 / 62, 1 / 61])


@pytest.mark.parametrize("scene", [None, 1, -(2**63)])
def test_an_explanation_adds_up_and_is_plain_json(scene):
    explained = MODEL.explain(GIVEN, scene)
    np.testing.assert_array_equal(explained.value, MODEL.value(GIVEN, scene))
    for index in range(2):
        item = json.loads(json.dumps(explained.item(index)))
        total = sum(task["share"] for task in item["tasks"].values())
        assert item["value"] == explained.value[index]
        assert (math.log(item["value"]) if scene == 1 else item["value"]) == pytest.approx(total)
        assert item["shares_sum_to"] == ("log(value)" if scene == 1 else "value")
        for name, task in item["tasks"].items():
            assert task["prediction"] == GIVEN[name][index]
            assert (task["calibrated"] == task["prediction"]) == (name == "play" or task["prediction"] == 0.5)
            assert task["weight"] == MODEL.scenes.get(scene, MODEL.fusion).weights[name]


def test_a_request_gives_the_tasks_of_its_scene_only():
    assert MODEL.tasks == {"click", "like", "play"}
    assert MODEL.value({"like": [0.5]}, -(2**63)).tolist() == [1 / 61]
    assert MODEL.value({"like": []}, -(2**63)).tolist() == []
    with pytest.raises(DataError, match=r"\['like'\]"):
        MODEL.value({"click": [0.5], "play": [1.0]}, 1)


def test_tasks_that_there_are_not_are_named():
    MODEL.check(["click", "like", "play", "follow"])
    with pytest.raises(ConfigError, match=r"weighs \['like', 'play'\]"):
        MODEL.check(["click"])


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf])
def test_a_prediction_that_is_no_such_number_is_named(bad):
    with pytest.raises(DataError, match=r"'play' predicts .* for item 1"):
        MODEL.value({**GIVEN, "play": [1.0, bad]})


@pytest.mark.parametrize("bad", [[1.0], [[1.0, 2.0]], 1.0])
def test_predictions_are_as_many_for_each_task(bad):
    with pytest.raises(DataError, match="shapes"):
        MODEL.value({**GIVEN, "play": bad})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fusion": None}, "got None"),
        ({"scenes": {"1": MODEL.fusion}}, "scene '1'"),
        ({"scenes": {1: "sum"}}, "got 'sum'"),
        ({"calibration": {"clik": Platt()}}, "'clik' is calibrated but no fusion"),
        ({"calibration": {"click": abs}}, "'click' is calibrated by"),
    ],
)
def test_a_model_that_cannot_be_meant_is_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        ValueModel(**{"fusion": MODEL.fusion, "scenes": {}, "calibration": {}, **change})
