import gzip

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest

from larix.data.formats import open_file
from larix.errors import DataError

TABLE = pa.table(
    {"id": pa.array(range(40_000)), "x": [at / 4 for at in range(40_000)], "s": ["a", "b"] * 20_000}
)


def write(path, table=TABLE):
    name = path.name
    if name.endswith((".parquet", ".pq")):
        pq.write_table(table, path, row_group_size=25_000, write_page_checksum=True, compression="none")
    elif name.endswith(".csv"):
        pcsv.write_csv(table, path)
    elif name.endswith(".csv.gz"):
        with gzip.open(path, "wb") as sink:
            pcsv.write_csv(table, sink)
    elif name.endswith(".tsv"):
        pcsv.write_csv(table, path, pcsv.WriteOptions(delimiter="\t"))
    else:
        make = pa.ipc.new_stream if name.endswith(".arrows") else pa.ipc.new_file
        with make(path, table.schema) as sink:
            sink.write_table(table, max_chunksize=30_000)
    return path


NAMES = ["a.parquet", "a.pq", "a.arrow", "a.feather", "a.ipc", "a.arrows", "a.csv", "a.csv.gz", "a.tsv"]


def read(file, columns):
    return [batch for part in range(file.parts) for batch in file.read(part, columns)]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_the_same_rows_in_the_columns_asked_for(tmp_path, name):
    file = open_file(write(tmp_path / name), {})
    assert file.schema.remove_metadata() == TABLE.schema
    assert pa.Table.from_batches(read(file, ["s", "id"])).equals(TABLE.select(["s", "id"]))
    assert max(len(batch) for batch in read(file, ["id"])) <= 16384


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith(("csv", "tsv"))])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, name):
    path = write(tmp_path / name)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2 + 1])
    with pytest.raises(DataError, match=rf"'.*{name}' cannot be read as .*; write it again or leave it out"):
        read(open_file(path, {}), ["id", "x", "s"])


def test_a_flipped_bit_in_a_parquet_page_is_an_error_that_names_it(tmp_path):
    path = write(tmp_path / "a.parquet")
    whole = bytearray(path.read_bytes())
    whole[120_000] ^= 1  # within the first column's pages
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"a\.parquet' cannot be read as Parquet.*(CRC|checksum)"):
        read(open_file(path, {}), ["id", "x", "s"])


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.csv"])
def test_an_empty_or_missing_file_is_an_error_that_names_it(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    for path in (tmp_path / name, tmp_path / f"gone.{name}"):
        with pytest.raises(DataError, match=f"{path.name}' cannot be read"):
            _ = open_file(path, {}).schema


def test_row_groups_say_their_rows_and_the_range_of_a_column(tmp_path):
    file = open_file(write(tmp_path / "a.parquet"), {})
    assert [file.rows(part) for part in range(file.parts)] == [25_000, 15_000]
    assert [file.range(part, "id") for part in range(file.parts)] == [(0, 24_999), (25_000, 39_999)]
    assert file.range(0, "nothing") is None


def test_a_range_with_nulls_is_not_told(tmp_path):
    pq.write_table(pa.table({"id": pa.array([1, None, 3])}), tmp_path / "a.parquet")
    assert open_file(tmp_path / "a.parquet", {}).range(0, "id") is None


def test_types_of_csv_columns_can_be_given_and_empty_ones_are_text(tmp_path):
    (tmp_path / "a.csv").write_text("id,x,empty\n1,2,\n3,4,\n")
    file = open_file(tmp_path / "a.csv", {"x": pa.float32()})
    assert file.schema.types == [pa.int64(), pa.float32(), pa.string()]
    assert read(file, ["empty", "x"])[0].to_pydict() == {"empty": ["", ""], "x": [2.0, 4.0]}


def test_a_value_of_another_type_far_down_a_csv_file_names_the_file(tmp_path):
    (tmp_path / "a.csv").write_text("id\n" + "1\n" * 3_000_000 + "one\n")
    with pytest.raises(DataError, match=r"a\.csv' cannot be read as CSV: .*int64.*one"):
        read(open_file(tmp_path / "a.csv", {}), ["id"])


def test_a_suffix_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"'.*a\.json' is no file of columns by its name; one of \.parquet"):
        open_file(tmp_path / "a.json", {})
