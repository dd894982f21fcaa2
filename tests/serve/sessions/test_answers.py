import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sided import STAMP

from larix.feed import ValueModel, WeightedSum
from larix.serve import Answer
from larix.serve.sessions.answers import Answers, held_bytes, size_of


def answer(rows=0, predictions=None, explanation=None):
    return Answer(
        id="",
        stamp=STAMP,
        order=np.arange(rows),
        value=np.zeros(rows),
        predictions=predictions or {},
        explanation=explanation,
    )


SIZE = size_of(answer())
PUTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 9), st.integers(0, 2000)),
        st.integers(0, 3),
    ),
    max_size=40,
)


@given(PUTS)
def test_no_bound_is_passed_and_the_newest_is_there(steps):
    answers = Answers(8 * SIZE, 5 * SIZE)
    told = {}
    for step in steps:
        if isinstance(step, int):
            answers.drop(f"s{step}")
            told = {key: each for key, each in told.items() if key[0] != f"s{step}"}
        else:
            bearer, session, request, rows = step
            key = (f"{bearer}s{session}", str(request))
            if answers.get(*key) is None:
                told[key] = answer(rows)
                answers.put(bearer.encode(), *key, told[key], mark=7)
                assert (answers.get(*key) is not None) == (size_of(told[key]) <= 5 * SIZE)
        there = {key: known for key in told if (known := answers.get(*key)) is not None}
        assert all(known.answer is told[key] and known.mark == 7 for key, known in there.items())
        assert len(answers) == len(there)
        sizes = [known.size for known in there.values()]
        assert answers.ledger.total == sum(sizes) <= 8 * SIZE
        for bearer in "ab":
            assert answers.ledger.of(bearer.encode()) <= 5 * SIZE


def test_the_oldest_of_the_bearer_is_forgotten_first():
    answers = Answers(100 * SIZE, 2 * SIZE)
    for request in "123":
        answers.put(b"ann", "s", request, answer(), 0)
    answers.put(b"bob", "t", "1", answer(), 0)
    assert [answers.get("s", request) is not None for request in "123"] == [False, True, True]
    assert answers.get("t", "1") is not None
    assert answers.forgotten == 1


def test_who_has_most_makes_room_for_others():
    answers = Answers(3 * SIZE, 3 * SIZE)
    for request in "12":
        answers.put(b"ann", "s", request, answer(), 0)
    answers.put(b"bob", "t", "1", answer(), 0)
    answers.put(b"bob", "t", "2", answer(), 0)
    assert [answers.get("s", request) is not None for request in "12"] == [False, True]
    assert [answers.get("t", request) is not None for request in "12"] == [True, True]


def test_what_is_too_large_is_not_remembered_and_pushes_nothing_out():
    answers = Answers(2 * SIZE, 2 * SIZE)
    answers.put(b"ann", "s", "1", answer(), 0)
    answers.put(b"ann", "s", "2", answer(rows=10_000), 0)
    assert answers.get("s", "1") is not None
    assert answers.get("s", "2") is None
    assert answers.forgotten == 1


def test_a_view_counts_for_all_that_it_keeps():
    whole = np.zeros((1000, 4), np.float32)
    assert held_bytes([whole[:10, 0], whole[5:, 1]]) == whole.nbytes
    assert held_bytes([whole[:10, 0].copy()]) == 40
    model = ValueModel(fusion=WeightedSum(weights={"click": 1.0}))
    plain, why = answer(500), model.explain({"click": np.linspace(0, 1, 500)})
    assert size_of(answer(500, explanation=why)) >= size_of(plain) + why.value.nbytes
