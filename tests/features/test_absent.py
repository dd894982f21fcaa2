import pyarrow as pa
from hypothesis import given, settings

from larix.features.absent import absent

from .test_transform import SAMPLE, record_batch, rows, schemas


@settings(deadline=None, max_examples=150)
@given(rows, schemas())
def test_what_each_row_lacks_is_what_its_own_transform_counts(rows, schema):
    batch = record_batch(rows, schema)
    whole = SAMPLE.transform(batch, labels=False).missing
    alone = [SAMPLE.transform(batch.slice(row, 1), labels=False).missing for row in range(len(batch))]
    for name, count in whole.items():
        found = absent(SAMPLE, batch, name).tolist()
        assert found == [each[name] for each in alone]
        assert sum(found) == count


def test_columns_of_nulls_alone_lack_a_value_in_every_row():
    names = {name for name in SAMPLE.columns if name not in SAMPLE.label_columns}
    whole = {"time": pa.array([1, 2]), "scene": pa.array([0, 0])}
    batch = pa.RecordBatch.from_pydict({name: whole.get(name, pa.nulls(2)) for name in sorted(names)})
    missing = SAMPLE.transform(batch, labels=False).missing
    assert missing["user"] == missing["words"] == missing["bucket"] == 2
    for name, count in missing.items():
        assert absent(SAMPLE, batch, name).sum() == count
