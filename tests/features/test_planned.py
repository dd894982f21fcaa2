import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from larix import features as fx
from larix.errors import DataError
from larix.features.planned import Plans

from .test_transform import SAMPLE as WHOLE
from .test_transform import assert_same, record_batch, rows, schemas

SAMPLE = fx.Sample(
    **{name: feature for name, feature in WHOLE.features.items() if name != "weighted"},
    past=fx.Sequence(user="hist_user", age=fx.LogAge("hist_time"), newest=2),
    scene="scene",
    time="time",
)
PLAIN = pa.schema(
    {
        "user": pa.int64(),
        "flag": pa.bool_(),
        "word": pa.string(),
        "words": pa.list_(pa.large_string()),
        "pair": pa.large_list(pa.int16()),
        "time": pa.timestamp("us"),
        "clock": pa.timestamp("ms"),
        "number": pa.float64(),
        "count": pa.uint16(),
        "scene": pa.uint8(),
        "hist_user": pa.list_(pa.int64()),
        "hist_word": pa.list_(pa.string()),
        "hist_play": pa.large_list(pa.float64()),
        "hist_time": pa.list_(pa.int64()),
    }
)


def careful(batch):
    """What ``transform`` does with other settings than serving's: two threads, which give the same bytes."""
    return SAMPLE.transform(batch, labels=False, threads=2)


def outcome(call):
    try:
        return call()
    except DataError as error:
        return str(error)


def check(batch):
    found, wanted = (
        outcome(call) for call in (lambda: SAMPLE.transform(batch, labels=False), lambda: careful(batch))
    )
    if isinstance(wanted, str):
        assert found == wanted
    else:
        assert_same(found, wanted)
        assert list(found.missing) == list(wanted.missing)
        assert found.dense.flags.c_contiguous


@settings(deadline=None, max_examples=150)
@given(rows, schemas() | st.just(PLAIN), st.data())
def test_what_was_planned_is_what_is_read_with_care(rows, schema, data):
    batch = record_batch(rows, schema)
    start = data.draw(st.integers(0, len(batch)))
    check(batch.slice(start, data.draw(st.integers(0, len(batch) - start))))


broken = st.fixed_dictionaries(
    {},
    optional={
        "scene": st.none(),
        "time": st.none(),
        "number": st.just(float("inf")),
        "hist_user": st.just([None]) | st.just([1, 2, 3]),
        "hist_time": st.just([None]) | st.just([]),
        "hist_play": st.just([float("inf")]) | st.just(None),
        "words": st.none() | st.just(["a", None]),
    },
)


@settings(deadline=None, max_examples=150)
@given(rows, broken, st.integers(0, 5))
def test_what_is_wrong_is_told_as_it_is_with_care(rows, broken, at):
    schema = PLAIN
    changed = [row | broken if number == at else row for number, row in enumerate(rows)]
    check(record_batch(changed, schema))


def plain(count=3):
    row = {
        "user": 1, "flag": True, "word": "a", "words": ["b"], "pair": [1, 2], "time": 10**12, "clock": None,
        "number": None, "count": None, "scene": 0, "hist_user": [1, 2], "hist_word": ["x", "y"],
        "hist_play": [1.0, None], "hist_time": [1, 2],
    }  # fmt: skip
    return record_batch([row] * count, PLAIN)


def test_a_plan_is_made_once_a_schema_and_a_few_are_kept():
    plans, batch = Plans(), plain()
    assert plans.read(SAMPLE, batch) is not None
    ((schema, plan),) = plans._made
    assert plan is not None, "nothing in it is unusual"
    plans.read(SAMPLE, plain(7))
    assert plans._made == ((schema, plan),)
    for number in range(9):
        wider = batch.append_column(f"other {number}", pa.array([1, 2, 3]))
        assert_same(plans.read(SAMPLE, wider).batch(), careful(batch))
    assert len(plans._made) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda batch: batch.drop_columns(["user"]),
        lambda batch: batch.append_column("user", batch["user"]),
        lambda batch: batch.set_column(2, "word", batch["word"].dictionary_encode()),
        lambda batch: batch.set_column(0, "user", pa.array([0.5] * 3)),
        lambda batch: batch.set_column(3, "words", batch["word"]),
        lambda batch: batch.slice(0, 0),
    ],
)
def test_what_is_unusual_is_left_to_be_read_with_care(change):
    batch = change(plain())
    assert Plans().read(SAMPLE, batch) is None
    check(batch)


def test_damaged_strings_are_told():
    batch = plain()
    offsets = pa.py_buffer(np.array([0, 1, 99, 3], np.int32).tobytes())
    words = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"aaa")])
    damaged = batch.set_column(2, "word", words)
    with pytest.raises(DataError, match=r"column 'word': string 1 lies outside its column"):
        SAMPLE.transform(damaged, labels=False)


def test_what_was_read_is_its_own_though_the_record_batch_is_gone_and_others_are_read():
    kept, wanted = SAMPLE.transform(plain(), labels=False), careful(plain())
    for count in range(1, 50):
        SAMPLE.transform(plain(count), labels=False)
    assert_same(kept, wanted)


def test_many_threads_share_a_plan():
    sample = fx.Sample.from_json(SAMPLE.to_json())
    batches = [plain(count) for count in range(1, 9)]
    wanted, wrong = [careful(each) for each in batches], []

    def read(offset):
        for turn in range(100):
            at = (offset + turn) % 8
            found = sample.transform(batches[at], labels=False)
            if found.dense.tobytes() != wanted[at].dense.tobytes() or found.missing != wanted[at].missing:
                wrong.append(at)

    threads = [threading.Thread(target=read, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
