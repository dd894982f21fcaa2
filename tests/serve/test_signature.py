import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import shop

from larix import features as fx
from larix.errors import ConfigError, DataError, StorageError
from larix.features.kernels import xxh3
from larix.serve import columns
from larix.serve.signature import Signature, signature_of

NOW = 1_700_000_000_123


@pytest.fixture(scope="module")
def signature():
    return signature_of(shop.sample(), shop.records().schema, item=shop.ITEM, candidates=shop.THEIRS)


def served(signature, records, rows):
    """The logged rows as a request's context (of the first of them) and candidates, through JSON."""
    given = {
        field.name: columns.as_served(records.column(field.name), field.type).take(pa.array(rows)).to_pylist()
        for schema in (signature.context, signature.candidates)
        for field in schema
    }
    context, candidates = (
        {name: given[name] for name in schema.names} for schema in (signature.context, signature.candidates)
    )
    return json.loads(json.dumps({name: each[0] for name, each in context.items()})), json.loads(
        json.dumps(candidates)
    )


def test_columns_go_to_the_side_they_are_said_to_be_of(signature):
    assert set(signature.candidates.names) == set(shop.THEIRS)
    assert not set(signature.context.names) & {"click", "play_ms", *shop.THEIRS}
    assert (signature.user, signature.scene, signature.time) == ("user_id", "tab", "time_ms")
    assert signature.per_request == ("user", "last", "hour", "age", "history")
    assert signature.shared == ("user_id",)  # the cross reads it
    assert signature.context.field("time_ms").type == pa.int64()
    assert signature.candidates.field("kind").type == pa.string()
    assert not signature.optional & {"item_id", "user_id", "tab", "time_ms"}


def test_a_signature_survives_json(signature):
    assert Signature.from_json(signature.to_json()) == signature


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"item": "price list"},
        {"item": None},
        {"context": {"user_id": "int65"}},
        {"context": ["user_id"]},
        {"scene": "nowhere"},
        {"optional": ["nothing"]},
        {"more": 1},
    ],
    ids=str,
)
def test_json_of_something_else_is_refused(signature, change):
    with pytest.raises(StorageError, match="export the bundle again"):
        Signature.from_json(json.dumps(json.loads(signature.to_json()) | change))
    with pytest.raises(StorageError, match="export the bundle again"):
        Signature.from_json(signature.to_json()[:-5])


def test_halves_through_json_are_bit_equal_to_the_whole(signature):
    sample, records = shop.sample(), shop.records()
    whole = sample.transform(records)
    first, second = signature.halves(sample)
    assert {**first.tables, **second.tables} == dict(sample.tables)
    assert [*first.features, *second.features] != list(
        sample.features
    )  # they interleave; order within each stays
    for row in range(len(records)):
        context, candidates = served(signature, records, [row])
        context, _ = signature.context_of(context, 0)
        candidates, _ = signature.candidates_of(candidates)
        ours = [
            first.transform(context, labels=False),
            second.transform(signature.beside(context, candidates), labels=False),
        ]
        alone = whole_row(sample, records, row)
        for half, declared in zip(ours, (first, second), strict=True):
            for name, jagged in half.ids.items():
                np.testing.assert_array_equal(jagged.values, alone.ids[name].values)
                assert jagged.values.dtype == alone.ids[name].values.dtype
            at = [sample.dense.index(name) for name in declared.dense]
            assert half.dense.tobytes() == np.ascontiguousarray(alone.dense[:, at]).tobytes()
            for name, history in half.sequences.items():
                assert history.dense.tobytes() == alone.sequences[name].dense.tobytes()
                for element, ids in history.ids.items():
                    np.testing.assert_array_equal(ids, alone.sequences[name].ids[element])
        assert ours[0].scene.tolist() == [whole.scene[row]]


def whole_row(sample, records, row):
    return sample.transform(records.slice(row, 1))


def test_one_context_is_repeated_for_all_candidates(signature):
    records = shop.records()
    context, candidates = served(signature, records, [3, 1, 2])
    context, _ = signature.context_of(context, 0)
    candidates, _ = signature.candidates_of(candidates)
    assert signature.beside(context, candidates)["user_id"].to_pylist() == [records["user_id"][3].as_py()] * 3


def test_objects_and_columns_make_the_same_rows(signature):
    _, by_column = served(signature, shop.records(), range(9))
    objects = [dict(zip(by_column, row, strict=True)) for row in zip(*by_column.values(), strict=True)]
    sparse = [{name: value for name, value in each.items() if value is not None} for each in objects]
    arrays = {
        **by_column,
        "item_id": np.array(by_column["item_id"], np.int32),
        "kind": pa.array(by_column["kind"]),
    }
    first, missing = signature.candidates_of(by_column)
    assert missing == {name: values.count(None) for name, values in by_column.items() if None in values}
    for other in (objects, sparse, arrays):
        found, counts = signature.candidates_of(other)
        assert found.equals(first)
        assert counts == missing


def test_what_is_optional_may_be_missing_and_is_counted(signature):
    found, missing = signature.candidates_of({"item_id": [1, 2, 3]})
    assert missing == {"tags": 3, "price": 3, "kind": 3}
    assert found["tags"].null_count == 3
    context, missing = signature.context_of({"user_id": 1, "tab": 0, "last_item": 7}, NOW)
    assert missing == {"age": 1, "seen": 1, "seen_rating": 1, "seen_ms": 1}
    first, _ = signature.halves(shop.sample())
    assert first.transform(context, labels=False).missing["age"] == 1


def test_a_request_without_a_time_is_made_now(signature):
    for given in ({}, {"time_ms": None}):
        context, missing = signature.context_of({"user_id": 1, "tab": 0, **given}, NOW)
        assert context["time_ms"].to_pylist() == [NOW]
        assert "time_ms" not in missing
    assert signature.context_of({"user_id": 1, "tab": 0, "time_ms": 5}, NOW)[0]["time_ms"].to_pylist() == [5]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"tab": 0}, "column 'user_id' is missing; expected int64"),
        ({"user_id": None, "tab": 0}, "column 'user_id' is null; expected int64"),
        ({"user_id": 1, "tab": 0, "usr": 3}, "there is no column 'usr'; the context's columns are user_id"),
        ({"user_id": 1, "tab": 0, "item_id": 3}, "there is no column 'item_id'"),
        ({"user_id": "me", "tab": 0}, "column 'user_id' is 'me'; expected int64"),
        ({"user_id": 1, "tab": 0, "seen": 4}, "column 'seen' is 4; expected list<int64>"),
        ([1], "the context is a list"),
    ],
    ids=str,
)
def test_a_context_that_does_not_fit_is_told_by_column(signature, values, told):
    with pytest.raises(DataError) as caught:
        signature.context_of(values, NOW)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "column 'item_id' is missing"),
        ({"item_id": [1, None]}, "column 'item_id' row 1 is null; expected int64"),
        ([{"item_id": 1}, {"price": 2.0}], "column 'item_id' row 1 is null"),
        ({"item_id": [1, 2], "price": [1.0]}, "column 'price' has 1 rows but 'item_id' has 2"),
        ({"item_id": [1], "cost": [1.0]}, "there is no column 'cost'; the candidates' columns are"),
        ([{"item_id": 1}, {"item_id": 2, "cost": 1}], "candidate 1 has a column 'cost'"),
        ([{"item_id": 1}, 7], "candidate 1 is a int"),
        ([{"item_id": 1}, {"item_id": 1.5}], "column 'item_id' row 1 is 1.5; expected int64"),
        ({"item_id": [1, 2], "kind": ["a", 3]}, "column 'kind' row 1 is 3; expected string"),
        ("item_id", "the candidates are a str"),
        (7, "the candidates are a int"),
    ],
    ids=str,
)
def test_candidates_that_do_not_fit_are_told_by_column_and_row(signature, values, told):
    with pytest.raises(DataError) as caught:
        signature.candidates_of(values)
    assert told in str(caught.value)


@pytest.mark.parametrize("values", [[], {"item_id": []}])
def test_no_candidates_are_no_rows(signature, values):
    found, missing = signature.candidates_of(values)
    assert (len(found), missing) == (0, {})
    assert found.schema == signature.candidates


def test_who_asks_is_one_number(signature):
    context, _ = signature.context_of({"user_id": -3, "tab": 0}, NOW)
    assert signature.user_of(context) == -3
    named = replace(
        signature,
        context=pa.schema([("name", pa.string())]),
        user="name",
        scene=None,
        time=None,
        optional=frozenset(),
        shared=(),
    )
    assert named.user_of(named.context_of({"name": "zoë"}, NOW)[0]) == xxh3("zoë".encode())
    assert replace(named, user=None).user_of(named.context_of({"name": "zoë"}, NOW)[0]) == 0


def test_a_user_who_is_no_finite_number_is_nobody():
    signature = Signature(
        context=pa.schema({"who": pa.float64()}),
        candidates=pa.schema({"item": pa.int64()}),
        item="item",
        user="who",
    )
    for value, user in ((-7.0, -7), (math.nan, 0), (math.inf, 0)):
        assert signature.user_of(pa.RecordBatch.from_pydict({"who": [value]})) == user


def test_a_sample_that_is_all_the_items_cannot_be_served():
    sample = fx.Sample(item=fx.Id("item_id", dim=4), pair=fx.Cross("item_id", "user_id", dim=4))
    schema = pa.schema([("item_id", pa.int64()), ("user_id", pa.int64())])
    lone = signature_of(sample, schema, item="item_id", candidates=())
    with pytest.raises(ConfigError, match="are the candidate's"):
        lone.halves(sample)


def test_columns_that_the_sample_does_not_read_are_refused():
    schema = shop.records().schema
    with pytest.raises(ConfigError, match=r"\['colour'\] are said to be the items'"):
        signature_of(shop.sample(), schema, item="item_id", candidates=("colour",))
    with pytest.raises(ConfigError, match=r"have no columns \['item_id'\]"):
        signature_of(
            shop.sample(), schema.remove(schema.get_field_index("item_id")), item="item_id", candidates=()
        )
    with pytest.raises(ConfigError, match="item 'tags' is no plain column"):
        signature_of(shop.sample(), schema, item="tags", candidates=())


def test_what_must_be_known_may_not_be_missing():
    sample = fx.Sample(
        user=fx.Id("user_id", dim=4), item=fx.Id("item_id", dim=4), price=fx.Dense("price", missing="error")
    )
    schema = pa.schema([("item_id", pa.int64()), ("user_id", pa.int64()), ("price", pa.float64())])
    signature = signature_of(sample, schema, item="item_id", candidates=("price",))
    with pytest.raises(DataError, match="column 'price' is missing; expected float64"):
        signature.candidates_of({"item_id": [1]})
