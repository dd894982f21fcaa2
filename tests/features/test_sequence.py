import math

import numpy as np
import pyarrow as pa
import pytest

from larix import features as fx
from larix.errors import ConfigError, DataError


def transform(sequence, **columns):
    sample = fx.Sample(video=fx.Id("v", dim=2), history=sequence, time="t")
    rows = len(next(iter(columns.values())))
    return sample.transform(pa.RecordBatch.from_pydict({"v": [1] * rows, "t": [10_000] * rows} | columns))


def test_the_newest_elements_of_every_column_are_kept_aligned():
    sequence = fx.Sequence(
        video="hv", click=fx.Id("hc", dim=2), play=fx.Dense("hp"), age=fx.LogAge("ht"), newest=2
    )
    batch = transform(
        sequence,
        hv=[[1, 2, 3], [], [4]],
        hc=[[True, False, True], [], [False]],
        hp=[[0.5, 1.5, None], [], [2.5]],
        ht=[[7000, 8000, 9000], [], [10_000]],
    )
    history = batch.sequences["history"]
    assert history.offsets.tolist() == [0, 2, 2, 3]
    assert history.ids["video"].tolist() == [2, 3, 4]
    assert history.ids["click"].tolist() == [0, 1, 0]
    assert history.dense.dtype == np.float32
    assert history.dense[:, 0].tolist() == [1.5, 0.0, 2.5]
    assert history.dense[:, 1].tolist() == pytest.approx([math.log(3), math.log(2), 0])
    assert batch.missing == {"video": 0, "history.play": 1}


def test_an_event_after_its_sample_has_age_0():
    sequence = fx.Sequence(video="hv", age=fx.LogAge("ht"), newest=5)
    batch = transform(sequence, hv=[[1, 2]], ht=[[10_001, 99_999]])
    assert batch.sequences["history"].dense.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_event_times_may_be_timestamps_of_any_unit(unit):
    sequence = fx.Sequence(video="hv", age=fx.LogAge("ht"), newest=5)
    times = (
        pa.array([[0, 9_000]], pa.list_(pa.int64()))
        .cast(pa.list_(pa.timestamp("ms")))
        .cast(pa.list_(pa.timestamp(unit)))
    )
    batch = transform(sequence, hv=[[1, 2]], ht=times)
    assert batch.sequences["history"].dense[:, 0].tolist() == pytest.approx([math.log(11), math.log(2)])


def test_null_and_empty_histories_are_empty():
    sequence = fx.Sequence(video="hv", play=fx.Dense("hp"), newest=5)
    batch = transform(sequence, hv=pa.array([None, [], [3]], pa.list_(pa.int64())), hp=[[], None, [1.0]])
    assert batch.sequences["history"].offsets.tolist() == [0, 0, 0, 1]
    batch = transform(sequence, hv=[None, None], hp=[None, []])
    assert batch.sequences["history"].offsets.tolist() == [0, 0, 0]
    assert batch.sequences["history"].dense.shape == (0, 1)


def test_histories_longer_than_a_block_of_the_kernels_are_whole():
    sequence = fx.Sequence(video="hv", play=fx.Dense("hp"), age=fx.LogAge("ht"), newest=2000)
    length = 1300
    batch = transform(
        sequence, hv=[list(range(length))], hp=[list(range(length))], ht=[[10_000 - i for i in range(length)]]
    )
    history = batch.sequences["history"]
    assert history.ids["video"].tolist() == list(range(length))
    assert history.dense[:, 0].tolist() == list(range(length))
    np.testing.assert_allclose(history.dense[:, 1], np.log1p(np.arange(length) / 1000), rtol=3e-7)


def test_columns_of_different_lengths_are_an_error_even_when_both_are_cut():
    sequence = fx.Sequence(video="hv", play=fx.Dense("hp"), newest=1)
    with pytest.raises(
        DataError, match="columns 'hv' and 'hp' row 1 hold lists of 2 and 3 elements; columns of one sequence"
    ):
        transform(sequence, hv=[[1], [1, 2]], hp=[[1.0], [1.0, 2.0, 3.0]])
    with pytest.raises(DataError, match="columns 'hv' and 'hp' row 0 hold lists of 1 and 0"):
        transform(sequence, hv=[[1]], hp=pa.array([None], pa.list_(pa.float64())))


def test_a_null_id_is_an_error_naming_column_row_and_element():
    with pytest.raises(
        DataError, match="column 'hv' row 1 element 1 of its list is None; an id in a sequence must be known"
    ):
        transform(fx.Sequence(video="hv", newest=5), hv=[[1], [2, None]])


def test_a_null_that_is_older_than_the_newest_does_no_harm():
    batch = transform(fx.Sequence(video="hv", newest=1), hv=[[None, 1], [None, 2]])
    assert batch.sequences["history"].ids["video"].tolist() == [1, 2]


def test_a_null_event_time_is_an_error():
    sequence = fx.Sequence(video="hv", age=fx.LogAge("ht"), newest=5)
    with pytest.raises(
        DataError, match="column 'ht' row 0 element 1 of its list is None; the time of an event must be known"
    ):
        transform(sequence, hv=[[1, 2]], ht=[[1, None]])


def test_a_bad_number_names_the_row_and_the_element():
    sequence = fx.Sequence(video="hv", play=fx.Dense("hp"), newest=2)
    with pytest.raises(
        DataError, match="column 'hp' row 1 element 1 of its list is inf; a dense value must be finite"
    ):
        transform(sequence, hv=[[1], [1, 2, 3]], hp=[[1.0], [0.0, 1.0, math.inf]])


def test_a_null_sample_time_is_an_error_where_ages_need_it():
    sample = fx.Sample(history=fx.Sequence(v=fx.Id("hv", dim=2), age=fx.LogAge("ht"), newest=5), time="t")
    batch = pa.RecordBatch.from_pydict({"hv": [[1], [1]], "ht": [[1], [1]], "t": [1, None]})
    with pytest.raises(DataError, match="column 't' row 1 is None; every sample must have a time"):
        sample.transform(batch, labels=False)


def test_a_column_that_is_no_list_names_what_is_expected():
    with pytest.raises(
        DataError, match="column 'hv' is int64; expected lists of integers, booleans or strings"
    ):
        transform(fx.Sequence(video="hv", newest=5), hv=[1])
    with pytest.raises(
        DataError, match="column 'ht' is list<item: double>; expected lists of integers of milliseconds"
    ):
        transform(fx.Sequence(video="hv", age=fx.LogAge("ht"), newest=5), hv=[[1]], ht=[[1.5]])


def test_a_string_element_is_short_for_an_id_of_the_table_of_that_name():
    assert fx.Sequence(video="hv", newest=5) == fx.Sequence(video=fx.Id("hv", table="video"), newest=5)


def test_equality_and_hash_go_by_content_and_order():
    one = fx.Sequence(a="x", b="y", newest=5)
    assert one == fx.Sequence(a="x", b="y", newest=5)
    assert hash(one) == hash(fx.Sequence(a="x", b="y", newest=5))
    assert one != fx.Sequence(b="y", a="x", newest=5)
    assert one != fx.Sequence(a="x", b="y", newest=6)
    assert one != "x"
    assert eval(repr(one), {"Sequence": fx.Sequence, "Id": fx.Id}) == one


def test_a_sequence_does_not_change():
    with pytest.raises(AttributeError, match="a Sequence does not change"):
        fx.Sequence(a="x", newest=5).newest = 3
    with pytest.raises(TypeError):
        fx.Sequence(a="x", newest=5).elements["b"] = fx.Id("c")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a": "x", "newest": 0}, "newest=0; it must be a whole number above 0"),
        ({"a": "x", "newest": None}, "newest=None"),
        ({"newest": 5}, "needs at least one element of ids"),
        ({"a": fx.Dense("x"), "newest": 5}, "needs at least one element of ids"),
        ({"a": fx.Ids("x", dim=2), "newest": 5}, "sequence element 'a' is Ids"),
        ({"a b": "x", "newest": 5}, "named 'a b'; use a name that is a Python identifier"),
    ],
)
def test_a_wrong_declaration_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        fx.Sequence(**arguments)
