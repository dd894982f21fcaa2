import json

import numpy as np
import pyarrow as pa
import pytest
import shop
import stock

from larix.errors import StorageError
from larix.serve.warm import Warm, crossed


def test_they_come_back_as_they_were():
    given = stock.warm()
    found = Warm.from_bytes(given.to_bytes())
    assert found.records.equals(given.records)
    assert found.records.schema == given.records.schema  # dictionaries and timestamps as logged
    np.testing.assert_array_equal(found.logits, given.logits)
    assert found.candidates == 3


@pytest.mark.parametrize("content", [b"", b"ARROW1", None], ids=["nothing", "a word", "half"])
def test_something_else_is_told(content):
    with pytest.raises(StorageError, match="no warm-up samples"):
        Warm.from_bytes(stock.warm().to_bytes()[:-40] if content is None else content)


def test_a_file_without_logits_is_told():
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, shop.records().schema) as writer:
        writer.write_batch(shop.records())
    with pytest.raises(StorageError, match="no warm-up samples"):
        Warm.from_bytes(sink.getvalue().to_pybytes())


def test_a_request_has_its_own_context_and_the_items_from_its_own_on():
    records = shop.records(5)
    whole = crossed(records, stock.signature(), 3)
    assert len(whole) == 15
    for request in range(5):
        for place in range(3):
            at, row = request * 3 + place, (request + place) % 5
            for name in records.schema.names:
                wanted = records[name][row if name in shop.THEIRS else request]
                assert whole[name][at].as_py() == wanted.as_py()


def test_requests_are_what_json_leaves_of_the_samples():
    given, signature = stock.warm(), stock.signature()
    whole = crossed(given.records, signature, 3)
    for number, (context, candidates) in enumerate(given.requests(signature)):
        assert [context, candidates] == json.loads(json.dumps([context, candidates]))
        assert context["user_id"] == whole["user_id"][number * 3].as_py()
        assert candidates["kind"] == whole["kind"][number * 3 : number * 3 + 3].to_pylist()
        assert context["time_ms"] == whole["time_ms"].cast(pa.int64())[number * 3].as_py() // 1000
    assert number == len(given.records) - 1


def test_what_is_binary_is_not_told_in_json():
    records = shop.records(4)
    keys = pa.array([b"\xff", b"a", None, b"b"])
    records = records.set_column(records.schema.get_field_index("kind"), "kind", keys)
    signature = stock.signature_of(shop.sample(), records.schema, item=shop.ITEM, candidates=shop.THEIRS)
    given = Warm(records, np.zeros((4, 2, 1), np.float32))
    assert next(each["kind"] for _, each in given.requests(signature)) == [b"\xff", b"a"]
