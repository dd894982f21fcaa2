import threading

import numpy as np
import pytest
from editions import Linear, Version, answer_of, request

from larix.errors import ConfigError
from larix.serve.models.shadow import Shadow
from larix.serve.request import Stamp

LIVE = Version(version="1").target
OTHER = Linear(Stamp(model="feed", version="2"), slope=0.3)


def offered(shadow, count, rows=5, **more):
    for number in range(count):
        asked = request(number % 3, f"r{number}", rows, **more)
        shadow.offer(asked, answer_of(LIVE, asked))


def test_its_report_is_of_the_differences_by_task():
    shadow = Shadow("2", lambda: OTHER, share=1.0)
    offered(shadow, 12)
    assert shadow.poll()
    report = shadow.report()
    expected = []
    for number in range(12):
        asked = request(number % 3, rows=5)
        one, other = answer_of(LIVE, asked), answer_of(Version(slope=0.3).target, asked)
        expected.append(other.predictions["is_click"] - one.predictions["is_click"])
    expected = np.concatenate(expected)
    click = report.tasks["is_click"]
    assert (report.requests, report.candidates, report.failed, report.dropped) == (12, 60, 0, 0)
    assert click.mean == pytest.approx(expected.mean(), abs=1e-6)
    assert click.most == pytest.approx(np.abs(expected).max())
    assert click.quantiles[0.5] == pytest.approx(np.median(np.abs(expected)), abs=1e-6)
    assert click.rank_correlation == pytest.approx(1.0)
    assert report.tasks["play_ms"].most == 0
    assert not shadow.poll()


def test_another_order_shows_in_the_rank_correlation():
    shadow = Shadow("2", lambda: Linear(OTHER.stamp, slope=-0.1), share=1.0)
    offered(shadow, 3)
    shadow.poll()
    assert shadow.report().tasks["is_click"].rank_correlation == pytest.approx(-1.0)


def test_it_takes_a_share_of_requests_the_same_ones_again():
    def taken():
        shadow = Shadow("2", lambda: OTHER, share=0.2, held=10_000)
        offered(shadow, 1000)
        shadow.poll()
        return shadow.report().requests

    assert 150 < taken() < 250
    assert taken() == taken()
    assert Shadow("2", lambda: OTHER, share=0.0).share == 0


def test_beyond_what_may_wait_requests_are_dropped_and_counted():
    shadow = Shadow("2", lambda: OTHER, share=1.0, held=4)
    offered(shadow, 10)
    shadow.poll()
    assert (shadow.report().requests, shadow.report().dropped) == (4, 6)


def test_what_it_cannot_score_is_counted_and_hurts_nobody():
    class Broken(Linear):
        def user(self, context):
            raise RuntimeError("no such column")

    shadow = Shadow("2", lambda: Broken(OTHER.stamp), share=1.0)
    offered(shadow, 2)
    shadow.poll()
    report = shadow.report()
    assert (report.requests, report.failed) == (0, 2)
    assert report.trouble == "request r1: RuntimeError: no such column"


def test_a_request_of_a_session_that_kept_no_context_is_passed_over():
    shadow = Shadow("2", lambda: OTHER, share=1.0)
    asked = request(context=None, session="s")
    shadow.offer(asked, answer_of(LIVE, request()))
    assert not shadow.poll()


def test_on_its_thread_it_sees_the_newest_state():
    seen, some = [], threading.Event()

    def newest():
        seen.append(threading.get_ident())
        some.set()
        return OTHER

    shadow = Shadow("2", newest, share=1.0)
    shadow.start()
    offered(shadow, 1)
    assert some.wait(20)
    shadow.stop()
    assert seen[0] != threading.get_ident()
    assert shadow.report().requests == 1


def test_what_is_no_share_is_refused():
    with pytest.raises(ConfigError, match="from 0 to 1"):
        Shadow("2", lambda: OTHER, share=1.5)
