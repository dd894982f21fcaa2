from dataclasses import replace

import numpy as np
import pytest
from engine_fakes import CONTEXT, STAMP, FakeScorer, request, target

from larix.errors import DataError
from larix.serve.engine.counts import SECONDS, Counts, Tally
from larix.serve.engine.job import Job
from larix.serve.refusal import Refusal, Why
from larix.serve.request import Answer


def job(stamp=STAMP):
    goal = target(FakeScorer(stamp=stamp))
    return Job(target=goal, request=request(5), context=CONTEXT, deadline=1.0, arrived=0.0, rows=5)


def answer(stamp=STAMP, **missing):
    nothing = np.zeros(0)
    return Answer(
        id="",
        stamp=stamp,
        order=nothing,
        value=nothing,
        predictions={},
        missing=missing,
        seconds={"whole": 0.012},
    )


def test_values_are_counted_up_to_their_bound():
    tally = Tally((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 7.0):
        tally.add(value)
    assert (tally.shown().counts, tally.shown().total) == ((2, 1, 1), 10.0)


def test_bounds_of_seconds_rise_and_tell_30_ms_from_29():
    assert list(SECONDS) == sorted(set(SECONDS))
    assert any(bound == pytest.approx(0.03) for bound in SECONDS)


def test_what_is_counted_is_by_version_and_by_reason():
    counts, other = Counts(), replace(STAMP, version="2")
    counts.answered(job(), answer(video=2))
    counts.answered(job(), answer(video=1, user=1))
    counts.ended_badly(job(other), Refusal(Why.TOO_LATE, ""))
    counts.turned_away(DataError(""), job(other))
    counts.turned_away(Refusal(Why.UNKNOWN, ""), None)
    first, second = counts.versions()
    assert (first.version, first.answered, first.candidates, first.missing) == (
        "1",
        2,
        10,
        {"video": 3, "user": 1},
    )
    assert first.seconds["whole"].count == 2
    assert first.seconds["whole"].quantile(0.5) == pytest.approx(0.015)
    assert (second.version, second.answered, second.refused) == ("2", 0, {"TOO_LATE": 1, "DATA": 1})
    assert counts.shed == {"DATA": 1, "UNKNOWN": 1}


def test_versions_long_gone_are_forgotten():
    counts = Counts()
    for version in range(200):
        stamp = replace(STAMP, version=str(version))
        counts.answered(job(stamp), answer(stamp))
    assert [each.version for each in counts.versions()] == [str(version) for version in range(136, 200)]
