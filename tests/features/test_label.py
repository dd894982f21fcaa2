import math

import numpy as np
import pyarrow as pa
import pytest

from larix import features as fx
from larix.errors import ConfigError, DataError
from larix.features import Binary, Seconds
from larix.features.label import stands_for


def transform(columns, labels=True, **arguments):
    columns = {"a": [1] * len(next(iter(columns.values())))} | columns
    return fx.Sample(a=fx.Id("a", dim=2), **arguments).transform(pa.RecordBatch.from_pydict(columns), labels)


@pytest.mark.parametrize(
    "dtype",
    [pa.bool_(), pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.dictionary(pa.int8(), pa.int64())],
)
def test_a_binary_label_is_0_1_or_not_known_whatever_its_type(dtype):
    values = pa.array([False, True, None]) if pa.types.is_boolean(dtype) else pa.array([0, 1, None])
    values = values.dictionary_encode() if pa.types.is_dictionary(dtype) else values.cast(dtype)
    labels = transform({"c": values}, tasks=[fx.Binary("c")]).labels
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, [[0.0], [1.0], [math.nan]])


def test_a_nan_label_is_not_known():
    assert math.isnan(transform({"c": [math.nan]}, tasks=[fx.Binary("c")]).labels[0, 0])


@pytest.mark.parametrize("value", [7, -1, 0.5, math.inf])
def test_a_binary_label_of_anything_else_names_column_row_and_value(value):
    with pytest.raises(DataError, match=f"column 'c' row 2 is {value}; a binary label must be 0, 1 or null"):
        transform({"c": [0, 1, value]}, tasks=[fx.Binary("c")])


def test_milliseconds_become_seconds():
    labels = transform({"c": [1500, 0, None]}, tasks=[fx.Seconds("c")]).labels
    np.testing.assert_array_equal(labels, [[1.5], [0.0], [math.nan]])


@pytest.mark.parametrize("value", [-1.0, math.inf, -math.inf])
def test_a_time_that_cannot_be_names_column_row_and_value(value):
    with pytest.raises(DataError, match=f"column 'c' row 1 is {value}; a time must be finite, not negative"):
        transform({"c": [0.0, value]}, tasks=[fx.Seconds("c")])


def test_labels_stand_in_the_order_of_the_tasks():
    tasks = (fx.Seconds("c"), fx.Binary("d"), fx.Binary("d", name="again"))
    assert transform({"d": [0, 1], "c": [1000, 2000]}, tasks=tasks).labels.tolist() == [[1, 0, 0], [2, 1, 1]]


def test_a_label_of_a_wrong_type_names_the_column():
    with pytest.raises(
        DataError, match="column 'c' is string; expected integers, floats, decimals or booleans"
    ):
        transform({"c": ["yes"]}, tasks=[fx.Binary("c")])


def test_weights_are_read_and_checked():
    batch = transform({"w": [0.0, 2.5, 1.0]}, weight="w")
    assert batch.weight.dtype == np.float32
    assert batch.weight.tolist() == [0.0, 2.5, 1.0]
    for value in (-0.5, math.nan, math.inf, None, 1e300):
        with pytest.raises(
            DataError, match=r"column 'w' row 1 is .*; a weight must be a finite number, not negative"
        ):
            transform({"w": [1.0, value]}, weight="w")


def test_group_and_scene_are_keys_like_ids():
    batch = transform({"g": ["u1", "u2", "u1"], "s": pa.array([3, 4, 3], pa.uint8())}, group="g", scene="s")
    ids = fx.Sample(x=fx.Id("g", dim=2)).transform(pa.RecordBatch.from_pydict({"g": ["u1", "u2", "u1"]}))
    assert batch.group.tolist() == ids.ids["x"].values.tolist()
    assert batch.scene.tolist() == [3, 4, 3]


@pytest.mark.parametrize(("key", "what"), [("group", "a group"), ("scene", "a scene"), ("time", "a time")])
def test_a_null_key_names_column_and_row(key, what):
    with pytest.raises(DataError, match=f"column 'k' row 1 is None; every sample must have {what}"):
        transform({"k": [1, None]}, **{key: "k"})


def test_the_time_is_milliseconds_whatever_its_type():
    for values in (
        [1000, 2000],
        pa.array([1, 2], pa.timestamp("s")),
        pa.array([10**9, 2 * 10**9], pa.timestamp("ns")),
    ):
        assert transform({"t": values}, time="t").time.tolist() == [1000, 2000]


def test_without_labels_only_the_scene_is_kept():
    columns = {"s": [1], "t": [1], "g": [1], "w": [1.0], "c": [7]}
    batch = transform(
        columns, labels=False, tasks=[fx.Binary("c")], scene="s", time="t", group="g", weight="w"
    )
    assert batch.labels is batch.weight is batch.group is batch.time is None
    assert batch.scene.tolist() == [1]


def test_without_tasks_there_are_no_labels():
    assert transform({"c": [1]}).labels is None


def test_a_task_is_named_like_its_column_unless_named():
    assert (fx.Binary("c").name, fx.Binary("c").kind) == ("c", "binary")
    assert (fx.Seconds("c", name="watch").name, fx.Seconds("c").kind) == ("watch", "regression")
    with pytest.raises(ConfigError, match=r"Binary\('c'\) has name 3; it must be a string"):
        fx.Binary("c", name=3)
    with pytest.raises(ConfigError, match="Seconds reads a column by its name"):
        fx.Seconds("")


RATED = (Binary("is_click", rate="rate"), Seconds("play_ms"), Binary("is_like"))


def rated_batch(rates, clicks=(1, 0, 0, None), likes=(0, 1, 0, 0), **keys):
    sample = fx.Sample(user=fx.Id("user", dim=2), tasks=RATED, **keys)
    columns = {
        "user": [1, 2, 3, 4],
        "is_click": pa.array(clicks, pa.int8()),
        "play_ms": [1, 2, 3, 4],
        "is_like": pa.array(likes, pa.int8()),
        "rate": pa.array(rates, pa.float32()),
        "weight": [1.0, 2.0, 4.0, 8.0],
    }
    return sample, pa.record_batch(columns)


def test_the_rate_of_negatives_is_read_with_the_labels_and_not_in_serving():
    sample, records = rated_batch([0.25, 0.5, 1.0, 0.125])
    assert sample.transform(records).rate.tolist() == [0.25, 0.5, 1.0, 0.125]
    assert "rate" in sample.columns
    assert "rate" in sample.label_columns
    served = sample.transform(records.drop_columns(["rate", "is_click", "is_like", "play_ms"]), labels=False)
    assert served.rate is None


def test_a_negative_stands_for_those_that_were_dropped():
    sample, records = rated_batch([0.25, 0.5, 1.0, 0.125])
    assert stands_for(sample.tasks, sample.transform(records)).tolist() == [1.0, 2.0, 1.0, 1.0]
    sample, records = rated_batch([0.25, 0.5, 1.0, 0.125], weight="weight")
    assert stands_for(sample.tasks, sample.transform(records)).tolist() == [1.0, 4.0, 4.0, 8.0]


def test_without_a_rate_each_sample_stands_for_itself():
    sample = fx.Sample(user=fx.Id("user", dim=2), tasks=(Binary("is_click"),))
    _, records = rated_batch([0.25] * 4)
    assert stands_for(sample.tasks, sample.transform(records)) is None


@pytest.mark.parametrize("rate", [0.0, -0.5, 1.5, None, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_told_with_its_row(rate):
    sample, records = rated_batch([0.5, 0.5, rate, 0.5])
    with pytest.raises(DataError, match=r"column 'rate' row 2 .* above 0 and at most 1"):
        sample.transform(records)


def test_the_rate_survives_json_and_only_one_task_has_one():
    sample, _ = rated_batch([0.5] * 4)
    assert fx.Sample.from_json(sample.to_json()) == sample
    with pytest.raises(ConfigError, match="by one task only"):
        fx.Sample(user=fx.Id("user", dim=2), tasks=(Binary("a", rate="rate"), Binary("b", rate="rate")))
