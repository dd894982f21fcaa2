import base64
import logging
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from larix.errors import DataError
from larix.serve import Refusal, Why
from larix.serve.grpc.status import Unauthenticated, status_of

CODES = {
    Why.UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Why.EXPIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Why.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Why.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Why.BROKEN: grpc.StatusCode.INTERNAL,
    Why.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Why.TOO_LATE: grpc.StatusCode.DEADLINE_EXCEEDED,
}


@pytest.mark.parametrize("why", list(Why))
def test_every_refusal_has_its_status_and_says_why(why):
    status = status_of(Refusal(why, "the reason"), "r")
    assert (status.code, status.text, status.metadata) == (CODES[why], "the reason", ())


def test_mistakes_of_the_client_and_late_answers_have_theirs():
    assert status_of(DataError("no"), "r")[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "no")
    assert status_of(Unauthenticated("who?"), "r").code is grpc.StatusCode.UNAUTHENTICATED
    assert status_of(TimeoutError(), "r").code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("seconds", [0.0, 0.0004, 1.25, 30.0])
def test_when_to_come_again_is_told_as_google_does_and_as_grpc_does(seconds):
    status = status_of(Refusal(Why.OVERLOADED, "busy", retry_after_s=seconds), "r")
    metadata = dict(status.metadata)
    rich = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert (rich.code, rich.message) == (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "busy")
    info = error_details_pb2.RetryInfo()
    assert rich.details[0].Unpack(info)
    assert info.retry_delay.ToNanoseconds() == round(seconds * 1e9)
    assert (
        int(metadata["grpc-retry-pushback-ms"]) - 1
        < seconds * 1000
        <= int(metadata["grpc-retry-pushback-ms"])
    )


def test_our_own_fault_is_logged_and_told_by_the_requests_id_alone(caplog):
    with caplog.at_level(logging.ERROR):
        status = status_of(KeyError("a secret"), "r17")
    assert status.code is grpc.StatusCode.INTERNAL
    assert "r17" in status.text
    assert "secret" not in status.text
    assert "a secret" in caplog.text


@pytest.mark.parametrize("character", ["x", "č", "語", "💥", "\n"])
def test_a_long_sentence_is_cut_to_what_metadata_take(character):
    status = status_of(Refusal(Why.UNAVAILABLE, character * 10**5, retry_after_s=1.0), "r")
    assert len(status.text.encode()) > 990
    details = dict(status.metadata)["grpc-status-details-bin"]
    assert (
        len(quote(status.text)) + len(base64.b64encode(details)) < 6000
    )  # of 8 KiB, which others have a part in
