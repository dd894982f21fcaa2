import io
import json
import logging
from dataclasses import dataclass

import pytest

from larix.serve import Refusal, Why
from larix.serve.telemetry import access, logging_to


@dataclass
class Done:
    id: str = "r1"
    bearer: str = "ann"
    method: str = "POST"
    path: str = "/v1/rank"
    status: int = 200
    seconds: float = 0.0123456
    received_bytes: int = 10
    sent_bytes: int = 20
    error: Exception | None = None


def logged(call, level=logging.INFO):
    stream = io.StringIO()
    with logging_to(stream, level=level):
        access(call)
    return [json.loads(each) for each in stream.getvalue().splitlines()]


def test_a_call_is_a_line():
    [found] = logged(Done())
    assert found.pop("time")
    assert found == {
        "level": "info",
        "logger": "larix.serve.access",
        "message": "POST /v1/rank 200",
        "request": "r1",
        "bearer": "ann",
        "method": "POST",
        "path": "/v1/rank",
        "status": 200,
        "ms": 12.346,
        "received_bytes": 10,
        "sent_bytes": 20,
    }


@pytest.mark.parametrize(
    ("status", "level"), [(404, "info"), (429, "info"), (500, "error"), (503, "info"), (504, "info")]
)
def test_faults_of_the_server_are_errors_and_refusals_are_not(status, level):
    [found] = logged(Done(status=status, error=Refusal(Why.OVERLOADED, "come again")))
    assert (found["level"], found["why"]) == (level, "come again")


def test_what_is_not_logged_is_not_made():
    assert logged(Done(), level=logging.WARNING) == []
    assert len(logged(Done(status=500), level=logging.WARNING)) == 1
