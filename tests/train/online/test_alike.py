import pyarrow as pa

from larix.train.online.alike import clash, first_clash, kinds, plain, together


def rows(**columns):
    return pa.record_batch(columns)


def test_a_type_is_that_of_values_and_whole_numbers_are_as_good_as_others():
    one = kinds(
        rows(a=pa.array([1], pa.int32()), b=pa.array([0.5], pa.float32()), c=pa.array([None], pa.string()))
    )
    assert one == {"a": pa.int64(), "b": pa.float64()}
    assert not clash(one, kinds(rows(a=[None], c=["x"])))
    assert not clash(one, kinds(rows(a=pa.array([2], pa.int64()))))
    for other in (rows(a=["x"]), rows(a=[0.5]), rows(a=pa.array([1], pa.uint64()))):
        assert clash(one, kinds(other))


def test_plain_rows_have_each_column_once_and_no_type_without_values():
    batch = pa.RecordBatch.from_arrays(
        [pa.array([1], pa.int8()), pa.array(["x"]), pa.array([None], pa.int64())], names=["a", "a", "b"]
    )
    assert plain(batch).schema == pa.schema([("a", pa.int64()), ("b", pa.null())])
    assert plain(batch)["a"].to_pylist() == [1]


def test_parts_go_together_up_to_the_first_value_of_another_type():
    parts = [
        pa.table({"a": pa.array([1, 2], pa.int32()), "b": pa.array([None, None], pa.string())}),
        pa.table({"a": pa.array([None, 3]), "b": [[1], None]}),
        pa.table({"a": [0.5], "b": pa.array([[]], pa.list_(pa.null()))}),
        pa.table({"a": pa.array([None, "x"]), "b": [None, [2]]}),
    ]
    assert first_clash(parts) == 6
    assert first_clash(parts, {"a"}) == 4
    assert first_clash(parts[3:]) == 2
    whole = together([*parts[:3], parts[3].slice(0, 1)])
    assert whole.to_pydict() == {"a": [1, 2, None, 3, 0.5, None], "b": [None, None, [1], None, [], None]}
    assert whole.schema == pa.schema([("a", pa.float64()), ("b", pa.list_(pa.int64()))])
