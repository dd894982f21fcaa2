import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from row_files import write_tfrecord

from larix import data
from larix.data import text, tfrecord
from larix.data.convert import convert
from larix.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a record or two, so that widening happens between blocks."""
    monkeypatch.setattr(text, "BLOCK_BYTES", 8)
    monkeypatch.setattr(tfrecord, "BLOCK_BYTES", 8)


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_what_is_converted_is_read_as_a_source(tmp_path):
    records = [{"id": [at], "x": [at / 2], "tags": [at] * (1 + at % 3)} for at in range(50)]
    path = write_tfrecord(tmp_path / "a.tfrecord-00000-of-00001", records)
    assert convert(path, tmp_path / "a.parquet") == 50
    (batch,) = data.files(tmp_path / "a.parquet").stream()
    assert batch.to_pydict() == {
        "id": list(range(50)),
        "tags": [[at] * (1 + at % 3) for at in range(50)],
        "x": [at / 2 for at in range(50)],
    }


def test_later_blocks_widen_columns_and_add_new_ones(tmp_path):
    path = lines(
        tmp_path / "a.jsonl", {"a": None}, {"a": 1, "l": 1}, {"a": 0.5}, {"b": "x"}, {"l": [2, 3]}, {"l": []}
    )
    assert convert(path, tmp_path / "a.parquet") == 6
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.to_pydict() == {
        "a": [None, 1.0, 0.5, None, None, None],
        "l": [None, [1], None, None, [2, 3], []],
        "b": [None, None, None, "x", None, None],
    }


def test_several_files_become_one_in_their_order(tmp_path):
    (tmp_path / "2.csv").write_text("id,x\n1,a\n")
    (tmp_path / "1.csv").write_text("x,id\n7,0.5\n")
    convert([tmp_path / "2.csv", tmp_path / "1.csv"], tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == {"id": [1.0, 0.5], "x": ["a", "7"]}


def test_types_can_be_given(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", 100)
    (tmp_path / "a.csv").write_text("id,at,zip\n1,2022-04-25,007\n")
    types = {"id": pa.int32(), "at": pa.timestamp("ms"), "zip": pa.string()}
    convert(tmp_path / "a.csv", tmp_path / "a.parquet", types=types)
    table = pq.read_table(tmp_path / "a.parquet")
    assert dict(zip(table.column_names, table.schema.types, strict=True)) == types
    assert table["zip"].to_pylist() == ["007"]


def test_progress_goes_up_to_the_bytes_of_all_files(tmp_path):
    paths = [lines(tmp_path / f"{at}.jsonl", *({"a": at} for at in range(20))) for at in range(2)]
    seen = []
    convert(paths, tmp_path / "a.parquet", progress=lambda done, total: seen.append((done, total)))
    total = sum(path.stat().st_size for path in paths)
    assert [all_bytes for _, all_bytes in seen] == [total] * len(seen)
    done = [done for done, _ in seen]
    assert done == sorted(done)
    assert done[-1] == total
    assert len(set(done)) > 2


def test_a_cut_record_leaves_nothing_half_written(tmp_path):
    path = write_tfrecord(tmp_path / "a.tfrecord", [{"id": [at]} for at in range(9)])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"record 9 of '.*a\.tfrecord' is cut off"):
        convert(path, tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_keeps_the_file_that_was_there(tmp_path):
    out = tmp_path / "a.parquet"
    convert(lines(tmp_path / "a.jsonl", {"a": 1}), out)
    (tmp_path / "b.jsonl").write_text('{"a": 2}\nnope\n')
    with pytest.raises(DataError, match="is not JSON"):
        convert(tmp_path / "b.jsonl", out)
    assert pq.read_table(out).to_pydict() == {"a": [1]}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            [{"a": 1}, {"a": 2}, {"a": "x"}],
            r"'a' of record 3 of '.*a\.jsonl' is 'x', string, but those before have int64",
        ),
        ([{"a": 2**53 + 1}, {"a": 0.5}], r"'a' becomes double with record 2 of '.*a\.jsonl'"),
        (
            [{"a": 0.5}, {"a": 2**53 + 1}],
            r"'a' of record 2 of '.*a\.jsonl' is 9007199254740993, which does not fit double",
        ),
        ([{"a": -1}, {"a": 2**64 - 1}], r"'a' becomes uint64 with record 2"),
        ([{}], "have no fields"),
    ],
)
def test_a_record_that_does_not_fit_is_named(tmp_path, records, message):
    with pytest.raises(DataError, match=message):
        convert(lines(tmp_path / "a.jsonl", *records), tmp_path / "a.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_csv_field_that_does_not_fit_is_named_by_record(tmp_path):
    (tmp_path / "a.csv").write_text("a\n" + "1234567\n" * 6 + "seven\n8\n")
    with pytest.raises(
        DataError, match=r"'a' of record 7 of '.*a\.csv' is 'seven', string, but those before have int64"
    ):
        convert(tmp_path / "a.csv", tmp_path / "a.parquet")
    with pytest.raises(
        DataError, match=r"'a' of record 7 of '.*a\.csv' is 'seven', which does not fit int32"
    ):
        convert(tmp_path / "a.csv", tmp_path / "a.parquet", types={"a": pa.int32()})


def test_what_cannot_be_converted_is_refused(tmp_path):
    path = lines(tmp_path / "a.txt", {"a": 1})
    out = tmp_path / "out.parquet"
    with pytest.raises(
        ConfigError, match=r"what '.*a\.txt' is cannot be told by its name; say its kind: tfrecord, csv, json"
    ):
        convert(path, out)
    with pytest.raises(ConfigError, match="kind 'xml' is not known"):
        convert(path, out, kind="xml")
    with pytest.raises(ConfigError, match="nothing to convert"):
        convert([], out)
    with pytest.raises(DataError, match=r"gone\.csv' is not there"):
        convert(tmp_path / "gone.csv", out)
    with pytest.raises(ConfigError, match="would be overwritten"):
        convert(path, path, kind="json")
    with pytest.raises(DataError, match="a type is given for 'b' but no record has it; there are a"):
        convert(path, out, kind="json", types={"b": pa.int64()})
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"empty\.jsonl' has no records"):
        convert(tmp_path / "empty.jsonl", out)
    assert not out.exists()
    assert convert(path, out, kind="json") == 1
