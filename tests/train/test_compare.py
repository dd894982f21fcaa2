import pytest

from larix.train.compare import compare, way_learned


def run(**more):
    click = {"kind": "binary", "auc": 0.745, "gauc": 0.62, "logloss": 0.58}
    return {"test": {"tasks": {"click": click, "play": {"kind": "regression", "mae": 3.0}}}} | more


def test_each_figure_is_compared_with_the_best_of_all_references():
    references = {
        "static": {"click": {"auc": 0.69, "gauc": 0.63, "logloss": 0.62}},
        "running": {"click": {"auc": 0.74, "gauc": None, "logloss": 0.59}},
        "other": {"like": {"auc": 0.99}},
    }
    click, play = compare(run(references=references))
    assert click["best"]["auc"] == {"value": 0.74, "delta": pytest.approx(0.005), "better": True}
    assert click["best"]["gauc"] == {"value": 0.63, "delta": pytest.approx(-0.01), "better": False}
    assert click["best"]["logloss"] == {"value": 0.59, "delta": pytest.approx(-0.01), "better": True}
    assert click["auc"] == 0.745
    assert play["best"] == {}


def test_the_same_figure_as_the_reference_is_not_better():
    click = compare(run(references={"same": {"click": {"auc": 0.745, "logloss": 0.58}}}))[0]
    assert not click["best"]["auc"]["better"]
    assert not click["best"]["logloss"]["better"]


def test_the_way_learned_goes_from_chance_to_the_truth():
    click = compare(run(truth={"tasks": {"click": {"auc": 0.85}}}))[0]
    assert click["way"] == pytest.approx(0.7)
    assert way_learned({"auc": 0.5}, {"auc": 0.8}) == 0
    assert way_learned({"auc": 0.7}, {"auc": None}) is None
    assert way_learned({"auc": None}, {"auc": 0.7}) is None
    assert way_learned({"auc": 0.6}, {"auc": 0.5}) is None


@pytest.mark.parametrize("metrics", [{}, {"test": None}, {"test": {}}, {"test": {"tasks": {}}}])
def test_a_run_without_a_test_has_nothing_to_compare(metrics):
    assert compare(metrics) == []
