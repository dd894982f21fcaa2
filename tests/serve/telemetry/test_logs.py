import io
import json
import logging
import math
import threading
import time

import pytest

from larix.errors import ConfigError
from larix.serve.telemetry import Logs, line, logging_to, of_request

SOON = 20.0


def record(message="hello %s", *args, **extra):
    made = logging.makeLogRecord(
        {"name": "larix.x", "msg": message, "args": args, "levelname": "INFO", "created": 0.5}
    )
    made.__dict__.update(extra)
    return made


class Gated(io.StringIO):
    """A stream that nobody reads from until the gate opens."""

    def __init__(self):
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Event()

    def write(self, text):
        self.entered.set()
        assert self.gate.wait(SOON)
        return super().write(text)


def told(stream):
    return [json.loads(each) for each in stream.getvalue().splitlines()]


def test_a_record_is_one_line_of_json():
    text = line(record("hello %s", "you", request="r1", ms=1.25, bearer=None))
    assert json.loads(text) == {
        "time": "1970-01-01T00:00:00.500Z",
        "level": "info",
        "logger": "larix.x",
        "message": "hello you",
        "request": "r1",
        "ms": 1.25,
        "bearer": None,
    }


def test_nothing_logged_ends_a_line_or_moves_a_cursor():
    text = line(record("a\nb\x1b[2J\u2028%s", "\r\nforged", request='"}\n{"'))
    assert "\n" not in text
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["message"] == "a\nb\x1b[2J\u2028\r\nforged"


def test_whatever_is_logged_is_json():
    given = {"nan": math.nan, "big": 1 << 80, "object": object, "long": "x" * 100_000, "bytes": b"\xff"}
    found = json.loads(line(record("m", **given)))
    assert found["nan"] == "nan"
    assert found["big"] == 1 << 80
    assert len(found["long"]) < 20_000
    assert json.loads(line(record("%d items", "many")))["message"] == "%d items ('many',)"


def test_an_error_brings_its_traceback():
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        found = json.loads(line(record("m", exc_info=(type(error), error, error.__traceback__))))
    assert "ZeroDivisionError: division by zero" in found["error"]
    assert "exc_info" not in found


def test_what_is_logged_within_a_request_names_it():
    with of_request("r1"):
        assert json.loads(line(record("m")))["request"] == "r1"
        with of_request("r2"):
            assert json.loads(line(record("m")))["request"] == "r2"
        assert json.loads(line(record("m", request="r3")))["request"] == "r3"
    assert "request" not in json.loads(line(record("m")))


def test_the_room_logs_to_the_stream_while_asked_to():
    stream = io.StringIO()
    logger = logging.getLogger("larix.serve.some")
    with logging_to(stream, level=logging.INFO):
        logger.info("one")
        logger.debug("hidden")
        logger.error("two", extra={"request": "r"})
    logger.error("three")
    assert [(each["level"], each["message"]) for each in told(stream)] == [("info", "one"), ("error", "two")]


def test_nobody_waits_for_a_stream_that_nobody_reads_and_what_is_dropped_is_told():
    stream = Gated()
    logs = Logs(stream, waiting=4)
    logs.handle(record("0"))
    assert stream.entered.wait(SOON)
    for number in range(1, 20):
        logs.handle(record(str(number)))
    assert logs.dropped == 15
    stream.gate.set()
    until = time.monotonic() + SOON
    while "dropped" not in stream.getvalue() and time.monotonic() < until:
        time.sleep(0.001)
    logs.handle(record("20"))
    logs.close()
    messages = [each["message"] for each in told(stream)]
    assert [each for each in messages if each.isdigit()] == ["0", "1", "2", "3", "4", "20"]
    assert "15 lines were dropped" in messages


def test_closing_does_not_wait_for_ever():
    stream = Gated()
    logs = Logs(stream, waiting=1)
    logs.handle(record("0"))
    logs.handle(record("1"))
    logs.close(timeout_s=0.01)
    logs.handle(record("2"))
    stream.gate.set()


def test_a_stream_that_breaks_hurts_nobody():
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    logs = Logs(Broken())
    logs.handle(record("0"))
    logs.handle(record("1"))
    logs.close()
    assert logs.dropped == 2


def test_threads_write_whole_lines():
    stream = io.StringIO()
    with logging_to(stream):
        logger = logging.getLogger("larix.serve.some")
        threads = [
            threading.Thread(target=lambda n=n: [logger.info("%d %d", n, m) for m in range(200)])
            for n in range(6)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert sorted(each["message"] for each in told(stream)) == sorted(
        f"{n} {m}" for n in range(6) for m in range(200)
    )


def test_some_lines_must_be_allowed_to_wait():
    with pytest.raises(ConfigError, match="1 or more"):
        Logs(io.StringIO(), waiting=0)
