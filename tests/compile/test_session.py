import threading
import time

import numpy as np
import pytest
from nets import Sketch, dense

from larix.compile import Eager, lifted, ops
from larix.compile.graph import Ref
from larix.compile.rules import hoist
from larix.compile.session import Session
from larix.errors import DataError


def graph():
    sketch = Sketch(dense(u=5, c=2))
    before = sketch.graph(sketch.linear(Ref("x"), 1))
    return before, hoist(before)[0]


class Recorded:
    """Answers with the first candidate column; says what it was asked."""

    def __init__(self, wait=0.0):
        self.asked, self.wait, self.busy, self.most = [], wait, 0, 0
        self._lock = threading.Lock()

    def run(self, stream, rows, arrays):
        with self._lock:
            self.asked.append((stream, rows))
            self.busy += 1
            self.most = max(self.most, self.busy)
        time.sleep(self.wait)
        assert [len(each) for each in arrays] == [1, rows]
        result = [arrays[1][:, :1].copy()]
        with self._lock:
            self.busy -= 1
        return result


def session(buckets=(2, 4), streams=1, wait=0.0):
    before, after = graph()
    runner = Recorded(wait)
    return Session(after, before.inputs, runner, buckets, streams), runner


def request(rows, start=0.0):
    column = np.arange(start, start + rows, dtype=np.float32)
    return {"x.request": np.zeros((1, 5), np.float32), "x.candidate": np.stack([column, column], axis=1)}


def test_every_bucket_of_every_stream_is_warmed():
    _, runner = session(streams=2)
    assert sorted(runner.asked) == [(0, 2), (0, 4), (1, 2), (1, 4)]


@pytest.mark.parametrize(
    ("rows", "runs"), [(1, [2]), (2, [2]), (3, [4]), (4, [4]), (5, [4, 2]), (11, [4, 4, 4]), (0, [2])]
)
def test_requests_are_padded_to_the_next_bucket_or_cut_into_the_largest(rows, runs):
    ours, runner = session()
    runner.asked.clear()
    found = ours.run(request(rows))["output.0"]
    np.testing.assert_array_equal(found[:, 0], np.arange(rows))
    assert [each for _, each in runner.asked] == runs


def test_a_request_sees_nothing_of_the_one_before():
    ours, _ = session()
    ours.run(request(4, start=100))
    np.testing.assert_array_equal(ours.run(request(3))["output.0"][:, 0], [0, 1, 2])


def test_arrays_with_strides_are_taken_as_they_are_meant():
    ours, _ = session()
    wide = request(4)["x.candidate"].repeat(2, axis=1)
    np.testing.assert_array_equal(
        ours.run({**request(4), "x.candidate": wide[:, ::2]})["output.0"][:, 0], np.arange(4)
    )


def test_as_many_calls_run_at_a_time_as_there_are_streams_and_none_gets_anothers_answer():
    ours, runner = session(streams=2, wait=0.005)
    answers = {}

    def ask(number):
        answers[number] = ours.run(request(3, start=number))["output.0"][0, 0]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: number for number in range(12)}
    assert runner.most == 2


def test_a_stream_is_free_again_after_an_error():
    ours, runner = session()
    runner.run = lambda stream, rows, arrays: 1 / 0
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            ours.run(request(2))


def test_a_wrong_request_is_refused_before_it_takes_a_stream():
    ours, _ = session()
    with pytest.raises(DataError, match="give one"):
        ours.run({**request(2), "x.request": np.zeros((2, 5), np.float32)})


def lifted_session(buckets=(2, 4)):
    sketch = Sketch(dense("u", u=3), dense("c", c=2))
    graph = lifted(hoist(sketch.graph(sketch(ops.MUL, sketch(ops.SLICE, Ref("u"), 1, 0, 2), Ref("c"))))[0])
    runner = Eager().load(graph, {}, 1)
    return Session(graph, graph.inputs, runner, buckets, 1), runner


def shared(rows, scale):
    return {"u": np.full((1, 3), scale, np.float32), "c": request(rows)["x.candidate"]}


@pytest.mark.parametrize("sizes", [(1,), (2, 1), (1, 1, 1, 1), (3, 0, 4), (9, 1, 2), (0,), (0, 0)])
def test_requests_share_runs_and_each_gets_its_own(sizes, monkeypatch):
    ours, runner = lifted_session()
    asked = []
    run = runner.run
    monkeypatch.setattr(
        runner, "run", lambda stream, rows, arrays: asked.append(rows) or run(stream, rows, arrays)
    )
    found = ours.run_together([shared(rows, scale) for scale, rows in enumerate(sizes, 1)])
    assert [len(each["output.0"]) for each in found] == list(sizes)
    for scale, (rows, each) in enumerate(zip(sizes, found, strict=True), 1):
        np.testing.assert_array_equal(each["output.0"][:, 1], np.arange(rows) * scale)
    assert len(asked) == max(1, -(-sum(sizes) // 4)), "no more runs than the rows need"


def test_what_cannot_share_a_run_is_refused():
    ours, _ = lifted_session()
    wrong = {"u": np.zeros((2, 3), np.float32), "c": np.zeros((3, 2), np.float32)}
    with pytest.raises(DataError, match="candidates differ in number: 'u' has 2 and 'c' has 3"):
        ours.run_together([shared(2, 1), wrong])
    whole, _ = session()
    with pytest.raises(AssertionError, match="requests share a lifted graph only"):
        whole.run_together([request(2)])
