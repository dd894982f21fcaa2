import numpy as np
import pytest

from larix.recipes.replay.freshness import Freshness

S = 1000


def test_it_runs_from_when_the_watermark_could_pass_to_the_first_answer_that_learned():
    fresh = Freshness(lateness_ms=5 * S)
    for until, at in ((10, 100), (20, 101), (30, 102), (40, 103)):  # seconds of event time, of the clock
        fresh.sent(until * S, at * S)
    fresh.ready({12 * S: 3})  # the watermark passes 12 when there is an event after 17, so in the slice to 20
    fresh.answered(11 * S, 104 * S)
    fresh.settle()
    assert fresh.figures() == {"samples": 0, "max_s": None, "p50_s": None, "p90_s": None, "p99_s": None}
    fresh.answered(12 * S, 105 * S)
    fresh.answered(25 * S, 109 * S)
    fresh.settle()
    assert fresh.figures() == {"samples": 3, "max_s": 4.0, "p50_s": 4.0, "p90_s": 4.0, "p99_s": 4.0}


def test_an_older_state_after_a_newer_one_and_a_slice_sent_twice_count_once():
    fresh = Freshness(0)
    fresh.sent(10 * S, 50 * S)
    fresh.sent(10 * S, 99 * S)
    fresh.sent(20 * S, 60 * S)
    fresh.answered(15 * S, 61 * S)
    fresh.answered(9 * S, 62 * S)
    fresh.ready({9 * S: 1, 15 * S: 1})
    fresh.settle()
    assert fresh.figures()["max_s"] == 11.0  # of 9, sent at 50
    assert fresh.figures(last=1)["max_s"] == 1.0  # of 15, sent at 60


def test_samples_that_no_event_made_ready_have_none():
    fresh = Freshness(0)
    fresh.sent(10 * S, 50 * S)
    fresh.answered(100 * S, 51 * S)
    fresh.ready({30 * S: 2})
    fresh.settle()
    assert fresh.figures()["samples"] == 0
    assert fresh.curve() == []


def test_percentiles_are_of_samples_and_the_curve_rises_to_all_of_them():
    fresh = Freshness(0)
    rng = np.random.default_rng(0)
    seconds, counts = rng.gamma(2.0, 1.0, 300), rng.integers(1, 20, 300)
    fresh.sent(0, 0)
    for at, (took, count) in enumerate(zip(seconds, counts, strict=True)):
        fresh.sent((at + 1) * S, at * 100 * S)
        fresh.ready({at * S: int(count)})
        fresh.answered(at * S, at * 100 * S + round(took * S))
        fresh.settle()
    spread = np.repeat(np.round(seconds, 3), counts)
    found = fresh.figures()
    assert found["samples"] == counts.sum()
    assert found["p50_s"] == pytest.approx(np.quantile(spread, 0.5, method="inverted_cdf"))
    assert found["p99_s"] == pytest.approx(np.quantile(spread, 0.99, method="inverted_cdf"))
    assert found["max_s"] == pytest.approx(spread.max())
    curve = fresh.curve()
    assert curve == sorted(curve)
    assert (curve[0][1], curve[-1]) == (0.0, (pytest.approx(spread.max()), 1.0))
