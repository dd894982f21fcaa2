import gzip

import pytest

from larix.data import text
from larix.errors import DataError


def csv(path, content, strings=()):
    path.write_text(content)
    return [block.table for block in text.csv_blocks(path, set(strings))]


def json(path, *lines):
    path.write_text("\n".join(lines))
    return [block.table for block in text.json_blocks(path)]


def types(table):
    return {name: str(table.schema.field(name).type) for name in table.column_names}


def test_csv_columns_are_what_all_their_fields_are(tmp_path):
    content = "i,u,x,b,s,e\n1,18446744073709551615,1,true,a,\n,2,0.5,false,,\n"
    (table,) = csv(tmp_path / "a.csv", content)
    assert types(table) == {
        "i": "int64",
        "u": "uint64",
        "x": "double",
        "b": "bool",
        "s": "string",
        "e": "null",
    }
    assert table.to_pylist()[1] == {"i": None, "u": 2, "x": 0.5, "b": False, "s": None, "e": None}
    assert table["u"][0].as_py() == 2**64 - 1


def test_csv_fields_may_be_quoted_with_commas_and_newlines(tmp_path):
    (table,) = csv(tmp_path / "a.csv", 'a,b\n"x,\ny",1\n"2022-04-25",2\n')
    assert table.to_pydict() == {"a": ["x,\ny", "2022-04-25"], "b": [1, 2]}


def test_a_csv_column_once_text_stays_text(tmp_path):
    strings = set()
    for content, expected in (("a\nx\n", ["x"]), ("a\n7\n", ["7"])):
        (tmp_path / "a.csv").write_text(content)
        (block,) = text.csv_blocks(tmp_path / "a.csv", strings)
        assert block.table["a"].to_pylist() == expected
    assert strings == {"a"}


def test_tsv_and_gzip_are_told_by_the_name(tmp_path):
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"a\tb\n1\t2\n"))
    (block,) = text.csv_blocks(tmp_path / "a.tsv.gz", set())
    assert block.table.to_pydict() == {"a": [1], "b": [2]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3\n", r"a\.csv' cannot be read as CSV: .*Row #3: Expected 2 columns, got 1"),
        ("a,b,a\n1,2,3\n", r"a\.csv' has more than one column 'a'"),
        ("", r"a\.csv' cannot be read as CSV: .*[Ee]mpty"),
    ],
)
def test_what_is_no_table_of_csv_is_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        csv(tmp_path / "a.csv", content)


def test_a_cut_gzip_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress("\n".join(map(str, range(100_000))).encode())[:-1000])
    with pytest.raises(DataError, match=r"a\.csv\.gz' cannot be read"):
        list(text.csv_blocks(path, set()))


def test_json_objects_become_columns(tmp_path):
    (table,) = json(
        tmp_path / "a.jsonl",
        '{"id": 18446744073709551615, "tags": ["a", "b"], "at": "2022-04-25"}',
        "",
        '{"tags": [], "x": 1, "inner": {"y": 2}}',
        '{"id": 9007199254740993, "x": 0.5}',
    )
    assert table.to_pylist() == [
        {"id": 2**64 - 1, "tags": ["a", "b"], "at": "2022-04-25", "x": None, "inner": None},
        {"id": None, "tags": [], "at": None, "x": 1.0, "inner": {"y": 2}},
        {"id": 2**53 + 1, "tags": None, "at": None, "x": 0.5, "inner": None},
    ]
    assert types(table)["id"] == "uint64"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"a": 1}', "", '{"a": '], r"record 2 of '.*' is not JSON"),
        (["[1]"], r"record 1 of '.*' is a list; each line must be an object"),
        (
            ['{"a": 1}', '{"a": null}', '{"a": "x"}'],
            r"'a' of record 3 of '.*' is string: 'x', but int64 before",
        ),
        (
            ['{"a": 1}', '{"a": 36893488147419103232}'],
            r"'a' of record 2 of '.*' is of no one type: 36893488147419103232",
        ),
        (['{"a": 9007199254740993}', '{"a": 0.5}'], r"'a' of records 1 to 2 of '.*' is not all double"),
        (['{"a": -1}', '{"a": 18446744073709551615}'], r"'a' of records 1 to 2 of '.*' is not all uint64"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        json(tmp_path / "a.jsonl", *lines)


def test_blocks_number_their_records(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", 20)
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n' * 7)
    assert [(block.first, len(block.table)) for block in text.json_blocks(tmp_path / "a.jsonl")] == [
        (1, 3), (4, 3), (7, 1),
    ]  # fmt: skip
    (tmp_path / "a.csv").write_text("a\n" + "1234567\n" * 7)
    found = list(text.csv_blocks(tmp_path / "a.csv", set()))
    assert len(found) > 1
    assert [block.first for block in found] == [
        1 + sum(len(b.table) for b in found[:at]) for at in range(len(found))
    ]
    assert sum(len(block.table) for block in found) == 7
