import threading

import numpy as np
import onlining
import pytest
from online_states import follower_of, same_rows, state_of
from onlining import Recorder

from larix.batch import Batch, History, Jagged
from larix.train import checkpoint
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


def drained(follower):
    while follower.poll():
        pass
    return follower


def test_a_version_in_the_middle_leads_to_the_states_that_followers_have_seen(start, whole, log, tmp_path):
    """The marks of what comes after it are those that they would have been."""
    seldom, stop = {"save_every_s": 1e9}, threading.Event()

    def then(progress):
        if progress.step == 15:
            stop.set()

    onlining.run(start, log, tmp_path / "run", watcher=Recorder(then=then), stop=stop, **seldom)
    assert checkpoint.load(tmp_path / "run" / "versions").point.step == 15
    follower = drained(follower_of(log, tmp_path / "run"))
    shown = follower.stand.sequence
    onlining.crash(start, log, tmp_path / "run", at=30, **seldom)
    drained(follower)
    assert follower.stand.sequence > shown
    onlining.run(start, log, tmp_path / "run", **seldom)
    drained(follower)
    assert follower.replaced == 1, "it never had to begin anew"
    assert follower.passed > 0
    assert same_rows(follower.replica, tmp_path / "run")
    assert state_of(tmp_path / "run") == state_of(whole)
