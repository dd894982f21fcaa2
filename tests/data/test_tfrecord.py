import sys

import pyarrow as pa
import pytest
from row_files import crc32c, example, framed, write_tfrecord

from larix.data import block, tfrecord
from larix.errors import ConfigError, DataError

RECORDS = [
    {"id": [7], "x": [0.5], "name": [b"one"], "tags": [1, -2]},
    {"id": [-(2**63)], "name": ["zw\u00f6lf".encode()], "tags": []},
    {"id": [2**63 - 1], "x": [1.5], "tags": [3], "none": []},
]


def read(path):
    return [found.table for found in tfrecord.blocks(path)]


def test_the_checksum_of_these_tests_is_the_published_one():
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("name", ["a.tfrecord", "a.tfrecord.gz"])
def test_examples_become_columns(tmp_path, name):
    (table,) = read(write_tfrecord(tmp_path / name, RECORDS))
    assert dict(zip(table.column_names, table.schema.types, strict=True)) == {
        "id": pa.int64(),
        "name": pa.string(),
        "tags": pa.list_(pa.int64()),
        "x": pa.float32(),
    }
    assert table.to_pydict() == {
        "id": [7, -(2**63), 2**63 - 1],
        "name": ["one", "zw\u00f6lf", None],
        "tags": [[1, -2], None, [3]],
        "x": [0.5, None, 1.5],
    }


def test_bytes_that_are_not_text_stay_bytes(tmp_path):
    (table,) = read(write_tfrecord(tmp_path / "a.tfrecord", [{"b": [b"\xff\x00"]}, {"b": [b"text"]}]))
    assert table["b"].to_pylist() == [b"\xff\x00", b"text"]


def test_blocks_number_their_records_and_tell_the_bytes_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tfrecord, "BLOCK_BYTES", 20)
    path = write_tfrecord(tmp_path / "a.tfrecord", [{"id": [at]} for at in range(5)])
    found = list(tfrecord.blocks(path))
    assert [one.first for one in found] == [1, 3, 5]
    assert [one.table["id"].to_pylist() for one in found] == [[0, 1], [2, 3], [4]]
    assert found[-1].done == path.stat().st_size


def test_an_empty_file_has_no_blocks(tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"")
    assert read(tmp_path / "a.tfrecord") == []


def test_a_file_cut_anywhere_is_an_error_that_names_the_record(tmp_path):
    path = write_tfrecord(tmp_path / "a.tfrecord", RECORDS)
    whole = path.read_bytes()
    ends = [0]
    for record in RECORDS:
        ends.append(ends[-1] + len(framed(example(record))))
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        if size in ends:
            continue
        number = sum(end < size for end in ends)
        with pytest.raises(DataError, match=rf"record {number} of '.*a\.tfrecord' is cut off"):
            read(path)


def test_any_flipped_bit_is_an_error_that_names_the_record(tmp_path):
    path = write_tfrecord(tmp_path / "a.tfrecord", RECORDS)
    whole = path.read_bytes()
    first = len(framed(example(RECORDS[0])))
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        number = 1 if at < first else "[23]"
        with pytest.raises(DataError, match=rf"record {number} of '.*a\.tfrecord' has a wrong checksum"):
            read(path)


def test_a_cut_gzip_file_is_an_error_that_names_it(tmp_path):
    path = write_tfrecord(tmp_path / "a.tfrecord.gz", RECORDS)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"a\.tfrecord\.gz' cannot be read"):
        read(path)


def test_a_record_that_is_no_example_is_named(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(framed(example(RECORDS[0])) + framed(b"\x0a\xff\xff"))
    with pytest.raises(DataError, match=r"record 2 of '.*a\.tfrecord' is no tf\.train\.Example"):
        read(path)


def test_a_feature_that_changes_its_kind_is_named_with_both_records(tmp_path):
    path = write_tfrecord(tmp_path / "a.tfrecord", [{}, {"x": [1]}, {"x": [0.5]}])
    with pytest.raises(DataError, match=r"feature 'x' is float in record 3 of .* but int64 in record 2"):
        read(path)


@pytest.mark.parametrize("missing", ["google_crc32c", "google.protobuf.message"])
def test_without_the_extra_the_error_says_how_to_install_it(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    path = write_tfrecord(tmp_path / "a.tfrecord", RECORDS)
    with pytest.raises(ConfigError, match=r"pip install 'larix\[tfrecord\]'"):
        read(path)


def test_a_block_is_some_megabytes():
    assert tfrecord.BLOCK_BYTES == block.BLOCK_BYTES == 16 << 20
