import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix import features as fx
from larix.errors import DataError
from larix.features import fit as fitting


def batches(columns, size):
    whole = pa.RecordBatch.from_pydict(columns)
    return [whole.slice(start, size) for start in range(0, whole.num_rows, size)]


def test_quantile_edges_fill_buckets_evenly():
    values = np.random.default_rng(0).lognormal(0, 2, 10_000)
    sample = fx.Sample(x=fx.Bucket("a", quantiles=8, dim=2)).fit(batches({"a": values}, 700))
    assert sample.features["x"].edges == tuple(np.quantile(values, np.arange(1, 8) / 8))
    ids = sample.transform(pa.RecordBatch.from_pydict({"a": values})).ids["x"].values
    counts = np.bincount(ids)
    assert counts[0] == 0
    assert set(counts[1:]) == {1250}


def test_repeated_values_give_fewer_buckets_not_empty_ones():
    sample = fx.Sample(x=fx.Bucket("a", quantiles=4, dim=2)).fit(batches({"a": [1.0] * 90 + [2.0] * 10}, 30))
    assert sample.features["x"].edges == (1.0,)


def test_nulls_nan_and_infinities_do_not_move_the_edges():
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    clean = fx.Sample(x=fx.Bucket("a", quantiles=2, dim=2)).fit(batches({"a": values}, 2))
    dirty = fx.Sample(x=fx.Bucket("a", quantiles=2, dim=2)).fit(
        batches({"a": [None, math.nan, *values, math.inf, -math.inf]}, 3)
    )
    assert clean == dirty


def test_mean_and_std_are_of_the_transformed_known_values():
    values = [0.0, 3.0, None, 100.0, math.nan, 8.0]
    sample = fx.Sample(x=fx.Dense("a", transform="log1p", clip=(0, 8), standardise=True))
    fitted = sample.fit(batches({"a": values}, 2)).features["x"]
    known = np.log1p([0, 3, 8, 8])
    assert fitted.mean == pytest.approx(known.mean(), rel=1e-14)
    assert fitted.std == pytest.approx(known.std(), rel=1e-14)


def test_standardised_values_have_mean_0_and_std_1():
    values = np.random.default_rng(0).normal(1e6, 3, 20_000)
    sample = fx.Sample(x=fx.Dense("a", standardise=True)).fit(batches({"a": values}, 999))
    got = sample.transform(pa.RecordBatch.from_pydict({"a": values})).dense.astype(np.float64)
    assert got.mean() == pytest.approx(0, abs=1e-6)
    assert got.std() == pytest.approx(1, rel=1e-6)


def test_the_missing_mean_is_fitted_too():
    sample = fx.Sample(x=fx.Dense("a", missing="mean")).fit(batches({"a": [1.0, None, 2.0]}, 2))
    assert sample.transform(pa.RecordBatch.from_pydict({"a": [None]})).dense.tolist() == [[1.5]]


def test_numbers_of_a_sequence_are_fitted_on_the_newest_elements():
    sequence = fx.Sequence(v=fx.Id("v", dim=2), x=fx.Dense("x", standardise=True), y=fx.Dense("y"), newest=2)
    columns = {"v": [[1, 2, 3], [], [4]], "x": [[99.0, 1.0, 2.0], [], [6.0]], "y": [[0, 0, 0], [], [0]]}
    fitted = fx.Sample(h=sequence).fit(batches(columns, 2))
    element = fitted.features["h"].elements["x"]
    assert (element.mean, element.std) == (3.0, pytest.approx(np.std([1, 2, 6])))
    assert fitted.features["h"].elements["y"] == fx.Dense("y")
    assert fitted.is_fitted


def test_the_rest_of_the_sample_stays_and_what_was_fitted_is_found_anew():
    quantiles, edges = fx.Bucket("a", quantiles=2, dim=2), fx.Bucket("a", edges=[5], dim=2)
    sample = fx.Sample(a=fx.Id("a", dim=2), b=quantiles, c=edges, time="a", tasks=[fx.Binary("l")])
    first = sample.fit(batches({"a": [1, 2, 3]}, 2))
    second = first.fit(batches({"a": [11, 12, 13]}, 2))
    assert not sample.is_fitted
    assert first.features["b"].edges == (2.0,)
    assert second.features["b"].edges == (12.0,)
    for fitted in (first, second):
        assert (fitted.time, fitted.tasks, fitted.columns) == (sample.time, sample.tasks, sample.columns)
        assert fitted.features["a"] == sample.features["a"]
        assert fitted.features["c"] == sample.features["c"]


def test_with_nothing_to_fit_the_data_is_not_read():
    def unread():
        raise AssertionError
        yield

    sample = fx.Sample(a=fx.Id("a", dim=2), c=fx.Bucket("a", edges=[5], dim=2))
    assert sample.fit(unread()) == sample


def test_a_feature_that_saw_no_value_is_an_error():
    for feature in (fx.Bucket("a", quantiles=2, dim=2), fx.Dense("a", standardise=True)):
        for data in ([], batches({"a": [None, math.nan]}, 1)):
            with pytest.raises(DataError, match="'x': column 'a' held no value to fit on"):
                fx.Sample(x=feature).fit(data)


def test_what_a_transform_refuses_a_fit_refuses():
    for feature, value, message in (
        (fx.Dense("a", standardise=True), math.inf, "column 'a' row 1 is inf; a dense value must be finite"),
        (fx.Dense("a", standardise=True, transform="log1p"), -1.0, "column 'a' row 1 is -1.0; log1p needs"),
        (fx.Dense("a", standardise=True, missing="error"), None, "column 'a' row 1 is None; missing='error'"),
        (fx.Bucket("a", quantiles=2, dim=2), "x", "column 'a' is string; expected integers, floats"),
    ):
        with pytest.raises(DataError, match=message):
            fx.Sample(x=feature).fit(batches({"a": ["y", value] if value == "x" else [1.0, value]}, 2))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.integers(1, 50))
def test_moments_block_by_block_are_the_moments_of_all(values, size):
    moments = fitting.Moments()
    for start in range(0, len(values), size):
        moments.add(np.array(values[start : start + size]))
    moments.add(np.array([]))
    assert moments.count == len(values)
    assert moments.mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-6)
    assert moments.std == pytest.approx(np.std(values), rel=1e-6, abs=1e-4)


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_a_reservoir_keeps_all_it_can_hold_and_then_a_fair_sample(size):
    reservoir = fitting.Reservoir(100, seed=1)
    stream = np.arange(20_000.0)
    for start in range(0, 100, size):
        reservoir.add(stream[start : min(start + size, 100)])
    assert reservoir.values.tolist() == stream[:100].tolist()
    for start in range(100, len(stream), size):
        reservoir.add(stream[start : start + size])
    assert len(reservoir.values) == 100
    assert len(set(reservoir.values.tolist())) == 100
    # The mean of 100 of 20,000 even values has a std of 577: a reservoir that favours either end is far off.
    assert abs(reservoir.values.mean() - 10_000) < 4 * 577


def test_a_reservoir_gives_every_value_the_same_chance():
    kept = np.zeros(60)
    for seed in range(3000):
        reservoir = fitting.Reservoir(10, seed=seed)
        for start in range(0, 60, 17):
            reservoir.add(np.arange(60.0)[start : start + 17])
        kept[reservoir.values.astype(int)] += 1
    # 3000 draws with chance 1/6: mean 500, std 20.4.
    assert np.abs(kept - 500).max() < 5 * 20.4


def test_beyond_the_cap_quantiles_come_from_the_reservoir(monkeypatch):
    monkeypatch.setattr(fitting, "RESERVOIR", 500)
    values = np.random.default_rng(0).permutation(100_000).astype(float)
    sample = fx.Sample(x=fx.Bucket("a", quantiles=2, dim=2)).fit(batches({"a": values}, 999))
    (median,) = sample.features["x"].edges
    assert median != np.median(values)
    assert abs(median - 50_000) < 5 * 100_000 * 0.5 / math.sqrt(500)
