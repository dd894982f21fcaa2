import numpy as np
import pytest

from larix.batch import Batch, History, Jagged
from larix.train.online.marks import Marks


def batch(first=1, past=5, dense=0.5, label=1.0):
    return Batch(
        size=2,
        ids={"user": Jagged(np.array([first, 2]))},
        sequences={
            "history": History(
                offsets=np.array([0, 1, 1]),
                ids={"video": np.array([past])},
                dense=np.zeros((1, 0), np.float32),
            )
        },
        dense=np.array([[dense], [1.0]], np.float32),
        labels=np.array([[label], [np.nan]], np.float32),
    )


SCORES = np.array([[0.1], [0.2]], np.float32)


def marked(*batches, scores=SCORES):
    marks = Marks(7)
    for sequence, one in enumerate(batches, 8):
        marks.add(sequence, one, scores)
    return marks


def test_the_same_way_leads_to_the_same_marks():
    assert marked(batch(), batch(2)).newest == marked(batch(), batch(2)).newest


@pytest.mark.parametrize(
    "other",
    [batch(first=-1), batch(past=6), batch(dense=0.25), batch(label=0.0)],
    ids=["id", "past", "dense", "label"],
)
def test_another_batch_leads_to_another_mark_and_so_do_all_after_it(other):
    assert marked(other).newest != marked(batch()).newest
    assert marked(other, batch()).newest != marked(batch(), batch()).newest


def test_one_bit_of_one_score_makes_another_mark():
    scores = SCORES.copy()
    scores.view(np.uint32)[1, 0] ^= 1
    assert marked(batch(), scores=scores).newest != marked(batch()).newest


def test_marks_are_of_states_and_can_be_gone_on_with():
    marks = marked(batch(), batch(2), batch(3))
    assert marks.sequence == 10
    assert marks.since(7).tolist()[0] == 0
    assert len(marks.since(7)) == 4
    assert marks.since(10).tolist() == [marks.newest]
    other = Marks(9, int(marks.since(9)[0]))
    other.add(10, batch(3), SCORES)
    assert other.newest == marks.newest
    marks.forget(9)
    assert len(marks.since(9)) == 2
    assert marks.since(7).tolist() == marks.since(9).tolist()


def test_a_batch_that_changed_nothing_leaves_the_mark():
    marks = marked(batch())
    before = marks.newest
    marks.add(8, batch(9), None)
    assert marks.newest == before


def test_those_that_no_one_asks_for_do_not_pile_up():
    marks = Marks(0)
    for sequence in range(1, 70_000):
        marks.add(sequence, None, None)
    assert len(marks.since(0)) <= 1 << 16
    assert marks.since(0)[-1] == marks.newest
