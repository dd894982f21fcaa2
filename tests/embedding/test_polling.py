import threading

import pytest

from larix.embedding.polling import Polling
from larix.errors import ConfigError


def test_it_polls_until_it_is_stopped():
    polled = threading.Semaphore(0)
    polling = Polling(polled.release, "a thing")
    polling.start(0.001)
    assert polling.running
    for _ in range(3):
        assert polled.acquire(timeout=10)
    with pytest.raises(ConfigError, match="'a thing' is being polled already"):
        polling.start(0.001)
    polling.stop()
    assert not polling.running
    polling.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_it_is_told_by_stop_once():
    def fail():
        raise ValueError("no more")

    polling = Polling(fail, "a thing")
    polling.start(0.001)
    while polling.running:
        pass
    with pytest.raises(ValueError, match="no more"):
        polling.stop()
    polling.stop()


def test_with_a_listener_for_errors_it_goes_on():
    told, polled = [], threading.Semaphore(0)

    def fail():
        polled.release()
        raise ValueError("not now")

    polling = Polling(fail, "a thing")
    polling.start(0.001, on_error=told.append)
    for _ in range(3):
        assert polled.acquire(timeout=10)
    polling.stop()
    assert [str(error) for error in told[:2]] == ["not now"] * 2


def test_it_needs_a_time_between():
    with pytest.raises(ConfigError, match="above 0"):
        Polling(lambda: None, "a thing").start(0.0)
