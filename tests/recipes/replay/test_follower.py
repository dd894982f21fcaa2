import pyarrow as pa

from larix.recipes.replay.follower import together


def test_appends_of_one_schema_are_answered_together_in_order():
    one = [pa.record_batch({"a": [at]}) for at in range(3)]
    other = pa.record_batch({"a": [3], "b": ["new"]})
    found = together([*one, other, one[0], one[1]])
    assert [batch.to_pydict() for batch in found] == [
        {"a": [0, 1, 2]},
        {"a": [3], "b": ["new"]},
        {"a": [0, 1]},
    ]
    assert together([]) == []
