import math

import numpy as np
import pyarrow as pa
import pytest

from larix import features as fx
from larix.errors import ConfigError, DataError


def dense(values, **arguments):
    sample = fx.Sample(x=fx.Dense("a", **arguments))
    batch = sample.transform(pa.RecordBatch.from_pydict({"a": values}))
    assert batch.dense.dtype == np.float32
    return batch.dense[:, 0].tolist(), batch.missing["x"]


def test_without_a_transform_a_value_is_itself():
    assert dense([1, -2, 3]) == ([1.0, -2.0, 3.0], 0)


def test_the_order_is_clip_then_log1p_then_standardise():
    got, _ = dense([-5.0, 3.0, 1e9], clip=(0, 7), transform="log1p", standardise=True, mean=1.0, std=2.0)
    assert got == pytest.approx([(math.log1p(x) - 1) / 2 for x in (0, 3, 7)])


def test_an_open_end_of_clip_does_not_clip():
    assert dense([-5, 5], clip=(None, 2))[0] == [-5.0, 2.0]
    assert dense([-5, 5], clip=(-2, None))[0] == [-2.0, 5.0]


def test_a_missing_number_stands_for_the_value_itself():
    got, missing = dense(
        [None, math.nan, 3.0], missing=3.0, transform="log1p", standardise=True, mean=1.0, std=2.0
    )
    assert got[0] == got[1] == got[2]
    assert missing == 2


def test_the_missing_mean_is_the_fitted_mean_and_0_once_standardised():
    assert dense([None], missing="mean", mean=1.5, std=2.0) == ([1.5], 1)
    assert dense([None], missing="mean", standardise=True, mean=1.5, std=2.0) == ([0.0], 1)


def test_a_mean_fitted_for_missing_values_does_not_standardise_the_others():
    assert dense([1.0], missing="mean", mean=1.5, std=2.0) == ([1.0], 0)


def test_missing_error_names_column_row_and_way_out():
    with pytest.raises(DataError, match="column 'a' row 1 is None; missing='error' asks for a value"):
        dense([1.0, None], missing="error")
    with pytest.raises(DataError, match="column 'a' row 0 is nan"):
        dense([math.nan], missing="error")


@pytest.mark.parametrize("clip", [None, (0, 1)])
@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_value_is_an_error_even_when_clipped(value, clip):
    with pytest.raises(DataError, match=r"column 'a' row 700 is -?inf; a dense value must be finite"):
        dense([0.0] * 700 + [value, value], clip=clip)


def test_a_value_too_large_for_a_float32_is_an_error_unless_the_transform_makes_it_small():
    with pytest.raises(DataError, match=r"row 0 is 1e[+]300; a dense value must be finite, as a float32 too"):
        dense([1e300])
    assert dense([1e300], transform="log1p")[0] == pytest.approx([math.log(1e300)])
    assert dense([1e300], clip=(None, 1))[0] == [1.0]
    with pytest.raises(DataError, match="must be finite"):
        dense([1.0], standardise=True, mean=0.0, std=1e-300)


def test_log1p_of_minus_1_or_less_is_an_error_unless_clipped():
    with pytest.raises(
        DataError, match=r"column 'a' row 1 is -1.0; log1p needs values above -1; give a clip=\(0, None\)"
    ):
        dense([0.0, -1.0, -2.0], transform="log1p")
    assert dense([-2.0], transform="log1p", clip=(0, None))[0] == [0.0]


def test_a_std_of_0_divides_by_1():
    assert dense([5.0, 6.0], standardise=True, mean=5.0, std=0.0)[0] == [0.0, 1.0]


def test_several_dense_columns_stand_in_declared_order():
    sample = fx.Sample(b=fx.Dense("x"), user=fx.Id("y", dim=2), a=fx.Dense("y"))
    batch = sample.transform(pa.RecordBatch.from_pydict({"x": [1, 2], "y": [3, 4]}))
    assert sample.dense == ("b", "a")
    assert batch.dense.tolist() == [[1.0, 3.0], [2.0, 4.0]]


def test_no_dense_feature_gives_a_matrix_without_columns():
    batch = fx.Sample(x=fx.Id("a", dim=2)).transform(pa.RecordBatch.from_pydict({"a": [1, 2]}))
    assert batch.dense.shape == (2, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transform": "sqrt"}, "has transform 'sqrt'; use 'none' or 'log1p'"),
        ({"clip": (2, 1)}, "the low end is above the high one"),
        ({"clip": 3}, "give a pair"),
        ({"clip": (0, math.nan)}, "clip=nan; it must be a finite number"),
        ({"missing": "zero"}, "missing='zero'; use a number, 'mean' or 'error'"),
        ({"missing": math.nan}, "missing=nan; it must be a finite number"),
        ({"missing": None}, "missing=None"),
        ({"missing": -1, "transform": "log1p"}, "under log1p it must be above -1"),
        ({"standardise": 1}, "standardise=1; use True or False"),
        ({"mean": 1.0}, "give both, std not negative, or neither"),
        ({"mean": 1.0, "std": -1.0}, "give both, std not negative, or neither"),
        ({"mean": math.inf, "std": 1.0}, "mean=inf; it must be a finite number"),
    ],
)
def test_a_wrong_declaration_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        fx.Dense("a", **arguments)
