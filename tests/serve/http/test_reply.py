import gzip
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix.errors import ConfigError, DataError, StorageError
from larix.serve import Refusal, Why
from larix.serve.grpc.status import status_of
from larix.serve.http.reply import Rejected, Reply, encoding_of, failure_of, packed, reply_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DataError("x"), 400),
        (Refusal(Why.EXPIRED, "x"), 410),
        (Rejected(411, "x"), 411),
        (TimeoutError(), 504),
        (StorageError("x"), 500),
        (ConfigError("x"), 500),
        (ValueError("secret"), 500),
    ],
)
def test_an_error_has_a_status_and_ours_tell_nothing(error, status):
    told = failure_of(error, "mine")
    assert told.status == status
    assert b"mine" in told.body
    assert b"secret" not in told.body


@pytest.mark.parametrize("error", [DataError("語" * 9**5), Refusal(Why.TOO_LARGE, "語" * 9**5)])
def test_a_long_sentence_is_cut_as_over_grpc(error):
    told = msgspec.json.decode(failure_of(error, "mine").body)
    assert told["error"] == status_of(error, "mine").text
    assert 990 < len(told["error"].encode()) <= 1000


def test_numbers_that_are_not_finite_become_null():
    assert reply_of({"a": [float("nan"), float("inf"), 1.5]}).body == b'{"a":[null,null,1.5]}'


@given(st.binary(max_size=2000), st.sampled_from(["gzip", "deflate"]))
def test_what_is_packed_can_be_unpacked_by_others(body, encoding):
    told = packed(Reply(200, body, headers=(("a", "b"),)), encoding)
    assert (gzip.decompress if encoding == "gzip" else zlib.decompress)(told.body) == body
    assert told.headers == (("a", "b"), ("content-encoding", encoding))


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip", "gzip"),
        ("GZip, deflate, br", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0, deflate;q=0.5", "deflate"),
        ("gzip; q=0.0", None),
        ("gzip;q=x", "gzip"),
    ],
)
def test_an_encoding_is_taken_from_those_accepted(accepted, encoding):
    assert encoding_of(accepted) == encoding
