import numpy as np
import pyarrow as pa

from larix.data.log import letters
from larix.data.log.columns import Rejected
from larix.data.log.events import Events, Unreadable

ROWS = pa.record_batch({"a": [1, 2, 3], "kind": pa.array(["x", "y", "x"]).dictionary_encode()})


def test_rejected_rows_come_back_as_they_were():
    events = Events(topic="clicks", partition=2, offset=100, time_ms=5, rows=ROWS)
    rows = letters.rejected(events, Rejected(np.array([0, 2]), "bad", "why"))
    (letter,) = letters.read(pa.RecordBatch.from_pylist(rows, schema=letters.SCHEMA))
    assert (letter.topic, letter.partition, letter.offset, letter.time_ms) == ("clicks", 2, 100, 5)
    assert (letter.reason, letter.detail, letter.raw) == ("bad", "why", None)
    assert letter.rows.to_pydict() == {"a": [1, 3], "kind": ["x", "x"]}
    assert letter.rows.schema == ROWS.schema


def test_a_message_that_is_no_rows_comes_back_as_it_came():
    message = Unreadable(topic="clicks", partition=0, offset=7, time_ms=5, raw=b"\x00\xff", reason="no rows")
    batch = pa.RecordBatch.from_pylist([letters.unreadable(message)], schema=letters.SCHEMA)
    (letter,) = letters.read(batch)
    assert (letter.rows, letter.raw, letter.reason, letter.offset) == (None, b"\x00\xff", "no rows", 7)


def test_many_rows_become_several_letters_in_order():
    rows = pa.record_batch({"n": np.arange(1000), "text": ["x" * 1000] * 1000})
    events = Events(topic="clicks", partition=0, offset=0, time_ms=5, rows=rows)
    made = letters.rejected(events, Rejected(np.arange(1000), "bad", ""))
    assert len(made) > 3
    assert all(len(row["content"]) < 300_000 for row in made)
    found = letters.read(pa.RecordBatch.from_pylist(made, schema=letters.SCHEMA))
    assert [n for letter in found for n in letter.rows["n"].to_pylist()] == list(range(1000))
