"""Columns in SQL: types, and what is refused. What the expressions give is tested in Flink, in `test_flink.py`."""

import pyarrow as pa
import pytest

from larix.data.join.flink_columns import equals, literal, number, quoted, sortable, type_of, whole
from larix.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (pa.int32(), "INT"),
        (pa.uint64(), "DECIMAL(20, 0)"),
        (pa.large_string(), "STRING"),
        (pa.dictionary(pa.int8(), pa.string()), "STRING"),
        (pa.list_(pa.list_(pa.float32())), "ARRAY<ARRAY<FLOAT>>"),
        (pa.struct([("a`b", pa.bool_()), ("c", pa.int64())]), "ROW<`a``b` BOOLEAN, `c` BIGINT>"),
    ],
)
def test_types_have_a_word_in_sql(kind, said):
    assert type_of("x", kind) == said


def test_a_type_that_json_lacks_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"'x\.y' is timestamp"):
        type_of("x", pa.struct([("y", pa.timestamp("ms"))]))


def test_names_and_texts_are_quoted():
    assert quoted("a`b") == "`a``b`"
    assert literal("it's") == "'it''s'"


SCHEMA = pa.schema(
    [
        ("whole", pa.int64()),
        ("small", pa.int8()),
        ("text", pa.string()),
        ("share", pa.float32()),
        ("yes", pa.bool_()),
        ("many", pa.list_(pa.int64())),
        ("huge", pa.uint64()),
    ]
)


def test_keys_and_times_are_whole_numbers_or_text():
    assert whole(SCHEMA, "whole", "int64") == "`whole`"
    assert whole(SCHEMA, "small", "int64") == "CAST(`small` AS BIGINT)"
    assert whole(SCHEMA, "small", "string") == "CAST(`small` AS STRING)"
    assert whole(SCHEMA, "text", "string") == "`text`"
    assert "REGEXP" in whole(SCHEMA, "text", "int64")
    for column in ("share", "yes", "many", "huge", "absent"):
        with pytest.raises(ConfigError, match=f"'{column}'"):
            whole(SCHEMA, column, "int64")


def test_a_value_is_compared_with_columns_of_its_type_only():
    assert equals(SCHEMA, "yes", True) == "`yes` IS TRUE"
    assert equals(SCHEMA, "small", 3) == "`small` = 3"
    assert equals(SCHEMA, "text", "o'") == "`text` = 'o'''"
    for column, value in (("yes", 1), ("small", True), ("text", 1), ("whole", "1"), ("share", 1)):
        with pytest.raises(ConfigError, match="never equals"):
            equals(SCHEMA, column, value)


def test_a_total_adds_up_numbers_and_text_that_is_one():
    assert [number(SCHEMA, each).count("0e0") for each in ("small", "share", "text", "yes")] == [1, 1, 1, 1]
    with pytest.raises(ConfigError, match="'many'"):
        number(SCHEMA, "many")


def test_text_sorts_as_it_is_and_numbers_are_padded():
    assert sortable("`id`", "string") == "`id`"
    assert "LPAD" in sortable("`id`", "int64")
