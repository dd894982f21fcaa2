import asyncio
import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from larix.errors import DataError
from larix.serve import Refusal, Why
from larix.serve.http import Limits
from larix.serve.http.body import Bodies, Held, size_of, unpacked
from larix.serve.http.reply import Rejected

SMALL = Limits(body_bytes=1000, held_bytes=2000, body_s=0.05)


def read(bodies, body, size=None, encoding=None, held=None):
    async def carrier():
        if isinstance(body, Exception):
            raise body
        if body is None:
            await asyncio.sleep(10)
        return body

    own = held or Held(bodies)
    return asyncio.run(bodies.read(carrier, len(body) if size is None else size, encoding, own))


@given(st.binary(max_size=900), st.sampled_from([gzip.compress, zlib.compress]))
def test_a_packed_body_is_unpacked(body, pack):
    if len(pack(body)) <= 1000:
        assert read(Bodies(SMALL), pack(body), encoding="gzip") == body


@given(st.binary(max_size=100), st.booleans())
def test_whatever_is_said_to_be_packed_is_unpacked_or_refused(body, started):
    with contextlib.suppress(DataError):
        assert len(unpacked(b"\x1f\x8b" + body if started else body, 1000)) <= 1000


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_bomb_does_not_go_off(pack):
    bomb = pack(bytes(50_000_000))
    with pytest.raises(Refusal, match="more than 1000 bytes") as told:
        unpacked(bomb, 1000)
    assert told.value.why is Why.TOO_LARGE


@pytest.mark.parametrize(
    "broken", [gzip.compress(b"x" * 100, mtime=0)[:-3], gzip.compress(b"x", mtime=0) + b"y", b"", b"\x1f\x8b"]
)
def test_what_breaks_off_or_goes_on_is_refused(broken):
    with pytest.raises(DataError):
        unpacked(broken, 1000)


def test_a_body_that_does_not_come_or_is_not_whole_is_refused():
    bodies = Bodies(SMALL)
    with pytest.raises(Rejected, match=r"did not come within 0\.05 s") as told:
        read(bodies, None, size=5)
    assert told.value.status == 408
    with pytest.raises(DataError, match="breaks off"):
        read(bodies, OSError("gone"), size=5)
    with pytest.raises(DataError, match="has 3 bytes"):
        read(bodies, b"abc", size=5)
    with pytest.raises(Rejected, match="'br'") as told:
        read(bodies, b"abc", encoding="br")
    assert told.value.status == 415


def test_all_bodies_together_are_bounded_and_given_back():
    bodies = Bodies(SMALL)
    first, second = Held(bodies), Held(bodies)
    packed = gzip.compress(b"x" * 990)
    read(bodies, packed, encoding="gzip", held=first)
    assert bodies.held_bytes == len(packed) + 990
    read(bodies, b"x" * 900, held=second)
    with pytest.raises(Refusal, match="no room for 900") as told:
        read(bodies, b"x" * 900)
    assert told.value.why is Why.OVERLOADED
    assert told.value.retry_after_s
    first.release()
    first.release()
    assert bodies.held_bytes == 900
    read(bodies, b"x" * 900)
    second.release()


@pytest.mark.parametrize(("length", "size"), [(None, 0), ("0", 0), ("10", 10), ("0010", 10)])
def test_a_length_is_read(length, size):
    assert size_of(length, False, 10) == size


@pytest.mark.parametrize("length", ["-1", "+1", "1.0", "", " 1", "1e3", "٣", "0x1"])
def test_what_is_no_length_is_refused(length):
    with pytest.raises(Rejected) as told:
        size_of(length, False, 10)
    assert told.value.status == 400


@pytest.mark.parametrize("length", ["11", "9" * 5000])
def test_a_length_above_the_limit_is_refused(length):
    with pytest.raises(Refusal, match="at most 10") as told:
        size_of(length, False, 10)
    assert told.value.why is Why.TOO_LARGE


def test_a_body_without_a_length_is_refused():
    with pytest.raises(Rejected) as told:
        size_of("5", True, 10)
    assert told.value.status == 411
