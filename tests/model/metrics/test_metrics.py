import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, mean_absolute_error, roc_auc_score

from larix.errors import ConfigError, DataError, NumericsError
from larix.model.metrics import Metrics, Users, gauc, xauc


@dataclass
class Task:
    name: str
    kind: str = "binary"


CLICK, LIKE, WATCH = Task("click"), Task("like"), Task("watch", "regression")


def ones(n):
    return np.ones(n, np.float32)


def feed(metrics, scores, labels, parts=5, **columns):
    for rows in np.array_split(np.arange(len(scores)), parts):
        metrics.update(scores[rows], labels[rows], **{name: column[rows] for name, column in columns.items()})
    return metrics


def brute_gauc(group, scores, labels, weights):
    aucs, impressions = [], []
    for user in np.unique(group):
        mine = group == user
        if len(np.unique(labels[mine])) == 2:
            aucs.append(roc_auc_score(labels[mine], scores[mine], sample_weight=weights[mine]))
            impressions.append(weights[mine].sum(dtype=np.float64))
    return np.average(aucs, weights=impressions), len(aucs)


def brute_xauc(scores, labels, weights):
    pair = weights[:, None].astype(np.float64) * weights * (labels[:, None] < labels)
    right = (scores[:, None] < scores) + 0.5 * (scores[:, None] == scores)
    return (pair * right).sum() / pair.sum()


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(2, 300), users=st.integers(1, 40), levels=st.integers(1, 30), seed=st.integers(0, 10_000)
)
def test_gauc_equals_a_loop_of_scikit_learn_over_users(n, users, levels, seed):
    rng = np.random.default_rng(seed)
    group = rng.integers(-users, users, n) * (2**57)
    scores = (rng.integers(0, levels, n) - levels / 2).astype(np.float32)
    labels = (rng.random(n) < 0.4).astype(np.float32)
    group[:2], labels[:2] = group[0], [0, 1]
    weights = rng.integers(1, 4, n).astype(np.float32)
    mean, counted = gauc(group, scores, labels, weights)
    expected, expected_count = brute_gauc(group, scores, labels, weights)
    assert mean == pytest.approx(expected, abs=1e-9)
    assert counted == expected_count


def test_gauc_without_a_user_of_both_outcomes_is_nan():
    group = np.array([1, 1, 2], np.int64)
    mean, users = gauc(group, ones(3), np.array([1, 1, 0], np.float32), ones(3))
    assert np.isnan(mean)
    assert users == 0
    assert gauc(group[:0], ones(0), ones(0), ones(0))[1] == 0


@settings(deadline=None, max_examples=60)
@given(n=st.integers(2, 200), levels=st.integers(1, 60), seed=st.integers(0, 10_000))
def test_xauc_equals_counting_every_pair(n, levels, seed):
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, levels, n) - levels // 2).astype(np.float32)
    labels = rng.integers(0, levels, n).astype(np.float32)
    labels[:2] = [0, levels + 1]
    weights = rng.integers(0, 4, n).astype(np.float32)
    weights[:2] = 1
    assert xauc(scores, labels, weights) == pytest.approx(brute_xauc(scores, labels, weights), abs=1e-9)


def test_xauc_of_equal_labels_is_nan():
    assert np.isnan(xauc(np.arange(3, dtype=np.float32), ones(3), ones(3)))
    assert np.isnan(xauc(ones(0), ones(0), ones(0)))


def test_kept_users_are_whole_within_budget_and_estimate_the_same_gauc():
    rng = np.random.default_rng(5)
    n, budget = 400_000, 60_000
    group = rng.integers(0, 20_000, n)
    scores = rng.normal(size=n).astype(np.float32)
    labels = (rng.random(n) < 1 / (1 + np.exp(-0.5 * scores))).astype(np.float32)
    users = Users(1, budget)
    for rows in np.array_split(np.arange(n), 23):
        users.add(group[rows], np.zeros(len(rows), np.int64), np.stack([scores, labels, ones(n)], 1)[rows])
    users.gather()
    assert budget / 4 < len(users.group) <= budget
    assert users.share == 0.125
    whole = np.bincount(group, minlength=20_000)
    kept, counts = np.unique(users.group, return_counts=True)
    assert np.array_equal(counts, whole[kept])
    assert len(kept) / 20_000 == pytest.approx(users.share, rel=0.1)
    estimate, _ = gauc(users.group, *users.values.T)
    assert estimate == pytest.approx(gauc(group, scores, labels, ones(n))[0], abs=0.01)


def sample(n=30_000, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, 3)).astype(np.float32)
    scores[:, 1] -= 3
    scores[:, 2] = np.log1p(rng.gamma(1.0, 20.0, n))
    truth = 1 / (1 + np.exp(-scores[:, :2].astype(np.float64)))
    labels = np.empty((n, 3), np.float32)
    labels[:, :2] = rng.random((n, 2)) < truth
    labels[:, 2] = np.expm1(scores[:, 2]) * rng.lognormal(0, 0.5, n)
    return {
        "scores": scores,
        "labels": labels,
        "weight": rng.integers(0, 4, n).astype(np.float32),
        "group": rng.integers(0, 300, n),
        "scene": rng.choice([1, 4, -7], n, p=[0.7, 0.2, 0.1]),
    }


def test_metrics_equal_scikit_learn_in_total_and_by_scene():
    data = sample()
    data["labels"][::11, 0] = np.nan
    result = feed(Metrics([CLICK, LIKE, WATCH]), **data).compute()
    assert list(result["scenes"]) == ["1", "4", "-7"]
    assert result["samples"] == 30_000
    for scene, tasks in {None: result["tasks"], **result["scenes"]}.items():
        rows = slice(None) if scene is None else data["scene"] == int(scene)
        for index, task in enumerate([CLICK, LIKE]):
            got = tasks[task.name]
            score, label, weight, group = (
                data["scores"][rows, index],
                data["labels"][rows, index],
                data["weight"][rows],
                data["group"][rows],
            )
            known = ~np.isnan(label)
            score, label, weight, group = score[known], label[known], weight[known], group[known]
            probability = 1 / (1 + np.exp(-score.astype(np.float64)))
            assert got["count"] == len(label)
            assert got["positives"] == label.sum()
            assert got["auc"] == pytest.approx(roc_auc_score(label, score, sample_weight=weight), abs=1e-9)
            assert got["auc_error"] == 0
            counted = weight > 0  # scikit-learn refuses a user whose weights are all 0; it has no impressions
            expected = brute_gauc(group[counted], score[counted], label[counted], weight[counted])
            assert (got["gauc"], got["gauc_users"]) == pytest.approx(expected, abs=1e-9)
            assert got["logloss"] == pytest.approx(
                log_loss(label, probability, sample_weight=weight), rel=1e-6
            )
            mean = np.average(probability, weights=weight)
            assert got["predicted"] == pytest.approx(mean)
            assert got["observed"] == pytest.approx(np.average(label, weights=weight))
            assert got["calibration"] == pytest.approx(mean / np.average(label, weights=weight))
        seconds = np.expm1(data["scores"][rows, 2].astype(np.float64))
        label, weight = data["labels"][rows, 2], data["weight"][rows]
        got = tasks["watch"]
        assert got["mae"] == pytest.approx(mean_absolute_error(label, seconds, sample_weight=weight))
        assert got["rmse"] == pytest.approx(np.average((seconds - label) ** 2, weights=weight) ** 0.5)
        assert got["calibration"] == pytest.approx(
            np.average(seconds, weights=weight) / np.average(label, weights=weight)
        )
        part = slice(0, 2000)
        expected = brute_xauc(data["scores"][rows, 2][part], label[part], weight[part])
        assert got["xauc"] == pytest.approx(expected, abs=0.02)


def test_the_calibration_curve_of_a_true_model_is_the_diagonal_and_of_a_biased_one_is_not():
    data = sample(200_000)
    curve = feed(Metrics([CLICK, LIKE, WATCH]), **data).compute(curve=10)["tasks"]["like"]["curve"]
    assert len(curve) == 10
    assert sum(point["weight"] for point in curve) == pytest.approx(data["weight"].sum())
    assert all(point["weight"] == pytest.approx(data["weight"].sum() / 10, rel=0.01) for point in curve)
    assert all(point["observed"] == pytest.approx(point["predicted"], abs=0.01) for point in curve)
    assert [point["predicted"] for point in curve] == sorted(point["predicted"] for point in curve)
    data["scores"] += 1
    curve = feed(Metrics([CLICK, LIKE, WATCH]), **data).compute(curve=10)["tasks"]["like"]["curve"]
    assert all(point["observed"] < point["predicted"] / 1.5 for point in curve)


def test_how_batches_are_cut_does_not_matter_and_buffers_may_be_reused():
    data = sample(5000)
    whole = feed(Metrics([CLICK, LIKE, WATCH]), **data, parts=1).compute()
    metrics = Metrics([CLICK, LIKE, WATCH])
    for rows in np.array_split(np.arange(5000), 37):
        part = {name: column[rows].copy() for name, column in data.items()}
        metrics.update(**part)
        for column in part.values():
            column[:] = 0
        if rows[0] % 3 == 0:
            metrics.compute()
    assert json.dumps(rounded(metrics.compute())) == json.dumps(rounded(whole))


def rounded(value):
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def test_merging_two_workers_equals_one_that_saw_all():
    data = sample(8000)
    whole = feed(Metrics([CLICK, LIKE, WATCH]), **data).compute()
    left, right, empty = (Metrics([CLICK, LIKE, WATCH]) for _ in range(3))
    feed(left, **{name: column[:3000] for name, column in data.items()})
    feed(right, **{name: column[3000:] for name, column in data.items()})
    empty.merge(left)
    empty.merge(right)
    merged = empty.compute()
    assert json.dumps(rounded(merged)) == json.dumps(rounded(whole))


def test_merging_keeps_the_smaller_share_of_users_and_the_budget():
    data = sample(9000)
    columns = {name: column[:, :1] if column.ndim == 2 else column for name, column in data.items()}
    left, right = Metrics([CLICK], budget=2000), Metrics([CLICK], budget=2000)
    feed(left, **columns)
    feed(right, **{name: column[:500] for name, column in columns.items()})
    right.merge(left)
    result = right.compute()
    assert result["users_share"] <= 0.25
    assert result["samples"] == 9500
    assert 0 < result["tasks"]["click"]["gauc_users"] < 300 * 0.3
    assert result["tasks"]["click"]["count"] == 9500, "only GAUC is estimated from a share"


def test_merging_metrics_of_other_tasks_is_refused():
    with pytest.raises(ConfigError, match="cannot be merged"):
        Metrics([CLICK]).merge(Metrics([LIKE]))


def test_metrics_without_samples_and_of_one_outcome_are_null_in_json():
    metrics = Metrics([CLICK, WATCH])
    empty = json.loads(json.dumps(metrics.compute(), allow_nan=False))
    assert empty["tasks"]["click"] == {
        "kind": "binary",
        "count": 0,
        "positives": 0,
        "auc": None,
        "auc_error": None,
        "logloss": None,
        "predicted": None,
        "observed": None,
        "calibration": None,
        "curve": [],
    }
    assert empty["tasks"]["watch"]["rmse"] is None
    metrics.update(np.zeros((4, 2)), np.zeros((4, 2)), group=np.arange(4))
    result = json.loads(json.dumps(metrics.compute(), allow_nan=False))["tasks"]["click"]
    assert result["auc"] is None
    assert result["gauc"] is None
    assert result["calibration"] is None
    assert result["logloss"] == pytest.approx(np.log(2))


def test_a_task_whose_labels_are_all_unknown_does_not_count():
    scores = np.zeros((6, 1), np.float32)
    metrics = Metrics([CLICK])
    metrics.update(scores, np.full((6, 1), np.nan), group=np.zeros(6, np.int64), scene=np.zeros(6, np.int64))
    result = metrics.compute()
    assert result["tasks"]["click"]["count"] == 0
    assert result["samples"] == 6


def test_without_groups_there_is_no_gauc_but_xauc():
    data = sample(3000)
    metrics = Metrics([CLICK, LIKE, WATCH], budget=1000)
    feed(metrics, data["scores"], data["labels"])
    tasks = metrics.compute()["tasks"]
    assert "gauc" not in tasks["click"]
    assert tasks["watch"]["xauc"] == pytest.approx(
        brute_xauc(data["scores"][:, 2], data["labels"][:, 2], ones(3000)), abs=0.03
    )


def test_scenes_beyond_the_maximum_count_in_the_total_and_are_reported_as_left_out():
    metrics = Metrics([CLICK], max_scenes=3)
    metrics.update(np.zeros((10, 1)), np.zeros((10, 1)), scene=np.arange(10))
    result = metrics.compute()
    assert len(result["scenes"]) == 3
    assert result["scenes_left_out"] == 7
    assert result["tasks"]["click"]["count"] == 10


def test_extreme_logits_have_finite_loss_and_extreme_seconds_finite_errors():
    metrics = Metrics([CLICK, WATCH])
    metrics.update(np.array([[1e30, 1e30], [-1e30, -5.0]]), np.array([[1, 3], [0, 0.0]]))
    tasks = metrics.compute()["tasks"]
    assert tasks["click"]["logloss"] == 0
    assert tasks["click"]["auc"] == 1
    assert np.isfinite(tasks["watch"]["rmse"])


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (
            {"scores": np.zeros((2, 3))},
            ConfigError,
            r"scores are of shape \(2, 3\), not \(2, 2\).*click, watch",
        ),
        ({"labels": np.zeros(2)}, ConfigError, r"labels are of shape \(2,\)"),
        ({"group": np.zeros(3, np.int64)}, ConfigError, "group is of shape"),
        ({"scores": np.array([[0, 0], [np.nan, 0]])}, NumericsError, "'click' has score nan for sample 1"),
        ({"scores": np.array([[0, np.inf], [0, 0]])}, NumericsError, "'watch' has score inf for sample 0"),
        ({"labels": np.array([[0, 0], [7, 0]])}, DataError, "'click' has label 7.0 for sample 1"),
        ({"labels": np.array([[0, -1], [0, 0]])}, DataError, "'watch' has label -1.0 for sample 0"),
        ({"weight": np.array([1, np.nan])}, DataError, "sample 1 of the batch has weight nan"),
        ({"weight": np.array([-1, 1])}, DataError, "sample 0 of the batch has weight -1.0"),
    ],
)
def test_a_wrong_batch_is_refused_with_its_place_and_is_not_counted(wrong, error, says):
    metrics = Metrics([CLICK, WATCH])
    with pytest.raises(error, match=says):
        metrics.update(**({"scores": np.zeros((2, 2)), "labels": np.zeros((2, 2))} | wrong))
    assert metrics.compute()["samples"] == 0


def test_groups_and_scenes_come_with_every_batch_or_never():
    metrics = Metrics([CLICK])
    metrics.update(np.zeros((1, 1)), np.zeros((1, 1)), group=np.zeros(1, np.int64))
    with pytest.raises(ConfigError, match="every batch or never"):
        metrics.update(np.zeros((1, 1)), np.zeros((1, 1)))


def test_tasks_of_an_unknown_kind_or_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="of kind 'ordinal'"):
        Metrics([Task("stars", "ordinal")])
    with pytest.raises(ConfigError, match="2 tasks named 'click'"):
        Metrics([CLICK, CLICK])
