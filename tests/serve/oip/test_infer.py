import math
import time

import numpy as np
import pyarrow as pa
import pytest
from asked import ANSWER, SIGNATURE, TASKS
from hypothesis import given, settings
from hypothesis import strategies as st

from larix.errors import DataError
from larix.serve import Refusal, Why
from larix.serve.oip import Tensor, from_raw, from_values, outputs_of, parameters_of, request_of, wanted_of
from larix.serve.oip.tensor import datatype_of

WORDS = st.text(max_size=4)
INT64 = st.integers(-(2**63), 2**63 - 1)


def ints(name, values, dtype=np.int64):
    return Tensor.of(name, np.array(values, dtype))


def least(*more, n=2):
    return [ints("user_id", [5]), ints("video_id", range(n)), *more]


def tensors_of(batch, ragged):
    """A batch's columns as a client would send them, in binary form."""
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if not pa.types.is_list(field.type):
            data = column.to_pylist()
            yield from_values(field.name, datatype_of(field.type), (len(batch),), data)
        elif ragged:
            yield Tensor.of(field.name, column.flatten().to_numpy())
            yield ints(field.name + ".lengths", [len(each) for each in column.to_pylist()])
        else:
            width = len(column.flatten()) // max(1, len(batch))
            yield Tensor.of(field.name, column.flatten().to_numpy().reshape(len(batch), width))


@st.composite
def batches(draw, ragged):
    n = draw(st.integers(0, 5))
    width = draw(st.integers(0, 3))
    lists = st.lists(INT64, max_size=3) if ragged else st.lists(INT64, min_size=width, max_size=width)
    values = {
        "video_id": INT64,
        "rate": st.floats(width=32, allow_nan=False),
        "new": st.booleans(),
        "tag": lists,
        "kind": st.binary(max_size=4),
        "user_id": INT64,
        "time_ms": st.integers(0, 2**40),
        "city": WORDS,
        "past": lists,
    }

    def batch(schema, rows):
        columns = [
            pa.array(draw(st.lists(values[f.name], min_size=rows, max_size=rows)), f.type) for f in schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    return batch(SIGNATURE.context, 1), batch(SIGNATURE.candidates, n)


@settings(deadline=None)
@given(st.booleans().flatmap(lambda ragged: st.tuples(st.just(ragged), batches(ragged))), st.booleans())
def test_columns_come_through_tensors_unchanged(case, binary):
    ragged, (context, candidates) = case
    sent = [*tensors_of(context, ragged), *tensors_of(candidates, ragged)]
    if binary:
        sent = [from_raw(each.name, each.datatype, each.shape, each.raw()) for each in sent]
    request = request_of(SIGNATURE, sent, id="r", model="feed", version="3")
    assert request.context.equals(context)
    assert request.candidates.equals(candidates)
    assert (request.id, request.model, request.version) == ("r", "feed", "3")
    assert request.user == SIGNATURE.user_of(context)
    assert (request.deadline, request.count, request.session) == (math.inf, None, "")


def test_what_may_be_missing_is_null_and_the_time_is_now():
    before = time.time_ns() // 1_000_000
    request = request_of(SIGNATURE, least())
    row = request.context.to_pylist()[0]
    assert before <= row.pop("time_ms") <= time.time_ns() // 1_000_000
    assert row == {"user_id": 5, "city": None, "past": None}
    assert request.candidates.column("tag").null_count == 2
    assert len(request.id) == 32


def test_columns_of_numbers_are_read_in_place():
    rates, tags, past = np.ones(2, np.float32), np.arange(4), np.arange(1000)
    sent = least(
        Tensor.of("rate", rates),
        Tensor.of("tag", tags),
        ints("tag.lengths", [1, 3]),
        Tensor.of("past", past[None]),
    )
    request = request_of(SIGNATURE, sent)
    assert request.candidates.column("rate").buffers()[1].address == rates.ctypes.data
    assert request.candidates.column("tag").values.buffers()[1].address == tags.ctypes.data
    assert request.context.column("past").values.buffers()[1].address == past.ctypes.data


def test_a_column_of_one_may_have_two_dimensions():
    sent = [ints("user_id", [[5]]), ints("video_id", [[1], [2]])]
    assert request_of(SIGNATURE, sent).candidates.column("video_id").to_pylist() == [1, 2]


def test_other_numbers_are_taken_if_nothing_is_lost():
    sent = [ints("user_id", [5], np.uint8), ints("video_id", [1, 2], np.int32), ints("rate", [1, 2])]
    assert request_of(SIGNATURE, sent).candidates.column("rate").to_pylist() == [1.0, 2.0]
    with pytest.raises(DataError, match="column 'video_id'"):
        request_of(SIGNATURE, [ints("user_id", [5]), Tensor.of("video_id", np.array([1.5, 2.0]))])
    with pytest.raises(DataError, match="column 'user_id'"):
        request_of(SIGNATURE, [ints("user_id", [2**63], np.uint64), ints("video_id", [1])])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([ints("user_id", [5])], "tensor 'user_id' is there twice"),
        ([ints("tags", [5])], "there is no input 'tags'; the inputs are user_id, time_ms"),
        ([ints("rate.lengths", [5])], "there is no input 'rate.lengths'"),
        ([ints("tag.lengths", [1, 1])], "'tag.lengths' is there without 'tag'"),
        ([ints("tag", [1, 2, 3]), ints("tag.lengths", [1, 1])], "does not add up to the 3 elements of 'tag'"),
        ([ints("tag", [1, 2]), ints("tag.lengths", [3, -1])], "does not add up"),
        ([ints("tag", []), ints("tag.lengths", [2**63 - 1, 2**63 - 1])], "does not add up"),
        ([ints("tag", []), ints("tag.lengths", [2**64 - 1, 1], np.uint64)], "does not add up"),
        ([ints("tag", [1, 2]), ints("tag.lengths", [1, 1], np.float32)], "is FP32; expected INT64"),
        ([ints("tag", [1, 2])], "shape [2]; expected [n, k], or [m] beside 'tag.lengths' [n]"),
        ([ints("tag", [[1, 2]]), ints("tag.lengths", [1, 1])], "shape [1, 2]; expected"),
        ([ints("tag", [[1, 2]])], "column 'tag' has 1 rows but 'video_id' has 2"),
        ([ints("past", [1, 2])], "expected [1, k], or [m] beside 'past.lengths' [1]"),
        ([ints("past", [[1], [2]])], "'past' has 2 rows; it is the request's and has 1"),
        ([ints("time_ms", [1, 2])], "'time_ms' has 2 rows"),
        ([ints("rate", [[1, 2], [3, 4]])], "shape [2, 2]; expected [n]"),
        ([Tensor.of("rate", np.array(1.0, np.float32))], "shape []; expected [n]"),
        ([ints("rate", [1])], "column 'rate' has 1 rows"),
        ([from_values("city", "BYTES", (1,), [b"\xff"])], "column 'city'"),
        ([from_values("rate", "BYTES", (2,), ["1", "2"])], "column 'rate'"),
    ],
)
def test_tensors_that_do_not_fit_are_told(more, said):
    with pytest.raises(DataError) as caught:
        request_of(SIGNATURE, least(*more))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "tensor", [ints("video_id", range(4)), Tensor("tag", "INT64", (2**40, 0), np.empty(0, np.int64))]
)
def test_too_many_candidates_are_refused_before_anything_is_made_of_them(tensor):
    with pytest.raises(Refusal, match="at most 3 are allowed") as caught:
        request_of(SIGNATURE, [ints("user_id", [5]), tensor], most=3)
    assert caught.value.why is Why.TOO_LARGE


def test_a_request_without_its_item_or_user_is_told():
    with pytest.raises(DataError, match="'video_id' is missing"):
        request_of(SIGNATURE, [ints("user_id", [5])])
    with pytest.raises(DataError, match="'user_id' is missing"):
        request_of(SIGNATURE, [ints("video_id", [5])])


def test_parameters_say_when_it_is_too_late_and_how_long_the_page_is():
    soon = time.monotonic() + 2
    request = request_of(SIGNATURE, least(), parameters={"timeout": 2_000_000, "count": "7"})
    assert soon <= request.deadline <= time.monotonic() + 2
    assert (request.count, request.diversity) == (7, True)
    assert not request_of(SIGNATURE, least(), parameters={"diversity": False}).diversity
    assert (
        request_of(SIGNATURE, least(), parameters={"timeout": 2_000_000}, deadline=soon - 1).deadline
        == soon - 1
    )
    assert request_of(SIGNATURE, least(), parameters={"timeout": 0}).deadline == math.inf


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"priority": 1}, "no parameter 'priority'; there are timeout, count, diversity"),
        ({"timeout": -1}, "'timeout' is -1; expected a whole number from 0 on"),
        ({"count": 0}, "'count' is 0; expected a whole number from 1 on"),
        ({"diversity": 1}, "'diversity' is 1; expected true or false"),
        ({"timeout": True}, "'timeout' is True"),
        ({"timeout": 1.5}, "'timeout' is 1.5"),
        ({"count": "ten"}, "'count' is 'ten'"),
        ({"count": "9" * 40}, "'count' is '999"),
    ],
)
def test_parameters_that_do_not_fit_are_told(parameters, said):
    with pytest.raises(DataError) as caught:
        request_of(SIGNATURE, least(), parameters=parameters)
    assert said in str(caught.value)


def test_an_answer_is_a_tensor_by_task_its_values_and_the_page():
    outputs = outputs_of(ANSWER, wanted_of(TASKS, ()))
    assert [(each.name, each.datatype, each.flat()) for each in outputs] == [
        ("is_click", "FP32", [0.5, 0.25, 0.75]),
        ("play", "FP32", [1, 2, 3]),
        ("value", "FP32", [0.5, 0.25, 0.75]),
        ("order", "INT64", [2, 0]),
    ]
    clicks = outputs[0].values.ctypes.data
    assert clicks == ANSWER.predictions["is_click"].ctypes.data


def test_only_outputs_that_are_wanted_are_given_each_once():
    assert wanted_of(TASKS, ["order", "play", "order"]) == ("order", "play")
    assert [each.name for each in outputs_of(ANSWER, ("order", "play"))] == ["order", "play"]
    with pytest.raises(DataError, match="no output 'is_like'; the outputs are is_click, play, value, order"):
        wanted_of(TASKS, ["play", "is_like"])


def test_an_answer_says_which_state_it_is_of_and_what_was_missing():
    assert parameters_of(ANSWER) == {
        "history": "line",
        "rows": 30,
        "dense": 20,
        "event_ms": 99,
        "missing.tag": 2,
    }
