import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from larix.errors import DataError
from larix.serve.grpc import wire

RAW = 7
REQUESTS = st.builds(
    service_pb2.ModelInferRequest,
    model_name=st.text(max_size=200),
    id=st.text(max_size=3),
    inputs=st.lists(
        st.builds(
            service_pb2.ModelInferRequest.InferInputTensor,
            name=st.text(max_size=3),
            shape=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        ),
        max_size=3,
    ),
    raw_input_contents=st.lists(st.binary(max_size=300), max_size=4),
)


@settings(deadline=None)
@given(REQUESTS)
def test_a_message_is_cut_into_its_tensors_and_the_rest(request):
    head, raws = wire.split(request.SerializeToString(), RAW)
    assert [bytes(raw) for raw in raws] == list(request.raw_input_contents)
    rest = service_pb2.ModelInferRequest.FromString(bytes(head))
    request.ClearField("raw_input_contents")
    assert rest == request


@settings(deadline=None)
@given(REQUESTS, st.randoms())
def test_the_order_of_fields_does_not_matter(request, random):
    raws = list(request.raw_input_contents)
    request.ClearField("raw_input_contents")
    parts = [service_pb2.ModelInferRequest(raw_input_contents=[raw]).SerializeToString() for raw in raws]
    at = random.randint(0, len(parts))
    head, found = wire.split(b"".join([*parts[:at], request.SerializeToString(), *parts[at:]]), RAW)
    assert [bytes(raw) for raw in found] == raws
    assert service_pb2.ModelInferRequest.FromString(bytes(head)) == request


def test_tensors_stay_where_they_are():
    data = service_pb2.ModelInferRequest(raw_input_contents=[b"abc", b"", b"d"]).SerializeToString()
    for raw in wire.split(data, RAW)[1]:
        assert raw.obj is data


@settings(deadline=None)
@given(REQUESTS, st.lists(st.binary(max_size=300), max_size=3))
def test_what_is_joined_is_one_message(request, raws):
    request.ClearField("raw_input_contents")
    data = wire.joined(request.SerializeToString(), RAW, [memoryview(raw) for raw in raws])
    request.raw_input_contents.extend(raws)
    assert service_pb2.ModelInferRequest.FromString(data) == request


@settings(deadline=None, max_examples=500)
@given(st.one_of(st.binary(max_size=60), REQUESTS.map(lambda each: each.SerializeToString())), st.data())
def test_damaged_bytes_are_told_or_are_what_protobuf_reads(data, draw):
    at = draw.draw(st.integers(0, len(data)))
    data = data[:at] + draw.draw(st.binary(max_size=3)) + data[at + draw.draw(st.integers(0, 3)) :]
    try:
        theirs = service_pb2.ModelInferRequest.FromString(data)
    except DecodeError:
        theirs = None
    try:
        head, raws = wire.split(data, RAW)
        rest = service_pb2.ModelInferRequest.FromString(bytes(head))
    except (DataError, DecodeError):
        rest = None
    if theirs is not None and rest is not None:
        assert [bytes(raw) for raw in raws] == list(theirs.raw_input_contents)
        theirs.ClearField("raw_input_contents")
        assert rest == theirs


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x3a", "cut off"),
        (b"\x3a\x05abc", "ends 2 bytes before its field at byte 0 does"),
        (b"\x08\x80", "cut off"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "more than 64 bits"),
        (b"\x3a" + b"\xff" * 9 + b"\x01", "before its field at byte 0 does"),
        (b"\x0d\x01", "ends 3 bytes before"),
        (b"\x0b", "unknown encoding, 3"),
        (b"\x0e", "unknown encoding, 6"),
    ],
)
def test_what_is_no_message_is_told(data, said):
    with pytest.raises(DataError, match=said):
        wire.split(data, RAW)


def test_a_message_of_very_many_fields_is_refused_before_much_is_made_of_it():
    for unit in (b"\x08\x00", b"\x3a\x00", b"\x2a\x00"):
        assert len(wire.split(unit * wire.MOST, RAW)[1]) in (0, wire.MOST)
        with pytest.raises(DataError, match="more than 16384 fields"):
            wire.split(unit * (wire.MOST + 1), RAW)
