import random

import pytest
from engine_fakes import FakeScorer

from larix.serve.engine.costs import Line, Runs


def test_a_line_is_found_through_noise():
    line, draw = Line(), random.Random(0)
    assert line(100) == 0.0
    for _ in range(300):
        rows = draw.choice([20, 50, 200, 500])
        line.add(rows, (0.001 + 2e-5 * rows) * draw.uniform(0.8, 1.2))
    assert line(0) == pytest.approx(0.001, rel=0.5)
    assert line(500) == pytest.approx(0.011, rel=0.2)


def test_what_was_long_ago_is_forgotten():
    line, draw = Line(), random.Random(0)
    for scale in (1.0, 3.0):
        for _ in range(400):
            rows = draw.randint(10, 500)
            line.add(rows, scale * 1e-5 * rows)
    assert line(300) == pytest.approx(3.0 * 1e-5 * 300, rel=0.05)


def test_requests_of_one_size_tell_of_others_in_proportion():
    line = Line()
    for _ in range(10):
        line.add(50, 0.001)
    assert line(50) == pytest.approx(0.001)
    assert line(500) == pytest.approx(0.01)


def test_neither_a_request_nor_a_row_is_thought_to_cost_less_than_nothing():
    line = Line()
    for rows, seconds in ((10, 0.01), (500, 0.001), (10, 0.02), (1000, 0.0)):
        line.add(rows, seconds)
    assert line(0) >= 0
    assert line(5000) >= line(0)


def test_no_rows_at_all_have_a_cost_too():
    line = Line()
    for _ in range(5):
        line.add(0, 0.002)
    assert line(0) == pytest.approx(0.002)


def test_runs_are_asked_for_once_and_large_ones_added_up():
    asked = []

    class Asked(FakeScorer):
        def seconds(self, rows):
            asked.append(rows)
            return super().seconds(rows)

    runs = Runs(Asked())
    assert runs.alone(1100) == 2 * runs((512,)) + runs((76,))
    assert runs.alone(0) == 0.0
    assert runs([76]) == runs.alone(76)
    assert sorted(asked) == [(76,), (512,)]
