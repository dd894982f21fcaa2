import struct
from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from asked import ANSWER, SIGNATURE
from hypothesis import example, given, settings
from hypothesis import strategies as st

from larix.serve import Answer, Request, Stamp
from larix.serve.columns import page_json
from larix.serve.http.page import Item, page_of, state_of

DOUBLES = (
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]) | st.floats()
)
SINGLES = st.floats(width=32)


def asked(items):
    batch = pa.RecordBatch.from_pydict({SIGNATURE.item: items})
    return Request(id="a", candidates=batch, context=None)


def as_items(answer, items):
    """The page's items, made one by one."""
    return [
        Item(
            item=items[row].as_py(),
            position=position,
            value=float(answer.value[row]),
            scores={name: float(scores[row]) for name, scores in answer.predictions.items()},
        )
        for position, row in enumerate(answer.order.tolist())
    ]


@settings(max_examples=2000, deadline=None)
@given(DOUBLES | SINGLES | st.floats(1e-6, 1e17) | st.integers(-(2**60), 2**60).map(float))
@example(0.0)
@example(-0.0)
@example(1e-5)
@example(9.999999999999999e-6)
@example(1e16)
@example(9999999999999998.0)
@example(1e22)
@example(5e-324)
@example(1.7976931348623157e308)
@example(float("nan"))
@example(float("-inf"))
@example(2.0**-17)
@example(2.0**53)
@example(9007199254740993.0)
@example(0.30000001192092896)
def test_a_number_is_written_as_in_all_other_json(number):
    value = np.array([number])
    text = page_json(np.array([1]), np.array([0]), value, [], [])
    assert text == msgspec.json.encode([Item(item=1, position=0, value=number, scores={})])


def test_many_numbers_are_written_as_in_all_other_json():
    random = np.random.default_rng(0)
    drawn = random.random(100_000, np.float32).astype(np.float64)
    powers = 10.0 ** random.integers(-7, 18, 100_000)
    short = np.round(random.random(100_000), 3) * powers
    for value in (drawn, drawn * powers, random.random(100_000), short, np.nextafter(short, 0)):
        every = np.arange(len(value))
        items = msgspec.json.decode(page_json(every, every, value, [], []), type=list[msgspec.Raw])
        assert b",".join(items) == msgspec.json.encode(
            [Item(item=at, position=at, value=each, scores={}) for at, each in enumerate(value.tolist())]
        ).strip(b"[]")


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([pa.int64(), pa.int8(), pa.uint64(), pa.uint16(), pa.string(), pa.bool_(), pa.float64()]),
    st.permutations(range(4)),
    st.integers(0, 4),
    st.lists(st.text(min_size=1, max_size=4), max_size=3, unique=True),
    st.data(),
)
def test_a_page_is_written_as_its_items_are(dtype, order, places, tasks, data):
    kinds = {
        pa.types.is_integer: st.integers(0, 127),
        pa.types.is_boolean: st.booleans(),
        pa.types.is_floating: DOUBLES,
    }
    kind = next(
        (each for found, each in kinds.items() if found(dtype)),
        st.text(st.characters(exclude_categories=["Cs"])),
    )
    items = pa.array(data.draw(st.lists(kind, min_size=4, max_size=4)), dtype)
    scores = st.lists(SINGLES, min_size=4, max_size=4)
    answer = Answer(
        id="a",
        stamp=Stamp(model="feed", version="7"),
        order=np.array(order[:places], np.int64),
        value=np.array(data.draw(st.lists(DOUBLES, min_size=4, max_size=4))),
        predictions={name: np.array(data.draw(scores), np.float32) for name in tasks},
    )
    if any(0xD800 <= ord(each) < 0xE000 for name in tasks for each in name):
        return
    signature = replace(SIGNATURE, candidates=pa.schema({SIGNATURE.item: dtype}), optional=frozenset())
    page = page_of(answer, asked(items), signature, {})
    assert msgspec.json.encode(page.items) == msgspec.json.encode(as_items(answer, items))


def test_a_page_says_of_which_state_it_is_and_what_was_missing():
    page = page_of(ANSWER, asked(pa.array([10, 3, 20])), SIGNATURE, {"rate": 1, "city": 0})
    told = msgspec.json.decode(msgspec.json.encode(page))
    assert told["missing"] == {"rate": 1, "tag": 2}
    assert told["stamp"] == {"history": "line", "rows": 30, "dense": 20, "event_ms": 99}
    assert msgspec.structs.asdict(state_of(ANSWER.stamp)) == told["stamp"]
    assert [item["item"] for item in told["items"]] == [20, 10]
    assert told["items"][0]["scores"] == {"is_click": 0.75, "play": 3.0}


@pytest.mark.parametrize("order", [[-1], [3], [0, 2**40]])
def test_a_candidate_that_there_is_not_is_never_looked_at(order):
    with pytest.raises(IndexError, match="no such candidate"):
        page_json(np.zeros(len(order), np.int64), np.array(order), np.zeros(3), [], [])


def test_arrays_that_do_not_fit_one_another_are_never_looked_at():
    one, three = np.zeros(1, np.int64), np.zeros(3)
    with pytest.raises(ValueError, match="an item a place"):
        page_json(np.zeros(2, np.int64), one, three, [], [])
    with pytest.raises(ValueError, match="a score a candidate"):
        page_json(one, one, three, [np.zeros(2, np.float32)], [b'"a":'])
    with pytest.raises(ValueError, match="a name a task"):
        page_json(one, one, three, [np.zeros(3, np.float32)], [])
