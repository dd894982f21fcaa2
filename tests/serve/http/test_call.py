import msgspec
import pytest

from larix.errors import DataError
from larix.serve import Refusal, Why
from larix.serve.http import Limits
from larix.serve.http.call import document_of


def test_json_beyond_its_limit_is_not_looked_at():
    decoder = msgspec.json.Decoder(dict)
    limits = Limits(json_bytes=10)
    assert document_of(decoder, b'{"a": 1}', limits) == {"a": 1}
    assert document_of(decoder, memoryview(b'{"a": 1}'), limits) == {"a": 1}
    with pytest.raises(Refusal, match="at most 10") as told:
        document_of(decoder, b'{"a":      1}', limits)
    assert told.value.why is Why.TOO_LARGE


@pytest.mark.parametrize("body", [b"[1]", b"{", b"\xff", b'{"a":' * 100_000])
def test_what_is_not_expected_is_a_mistake_of_the_client(body):
    with pytest.raises(DataError, match=r"^the body: "):
        document_of(msgspec.json.Decoder(dict), body, Limits())
