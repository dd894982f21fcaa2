"""ModelInfer as the real client asks for it."""

import sys

import grpc
import numpy as np
import pyarrow as pa
import pytest
import tritonclient.grpc as triton
from grpc_served import KnownService, asked, served
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException
from wide import WIDE, assert_same, given_tensors

from larix.errors import LarixError
from larix.serve import Refusal, Why, oip
from larix.serve.columns import message_rest
from larix.serve.grpc import GrpcLimits, wire
from larix.serve.grpc.call import parsed
from larix.serve.grpc.infer import Inference, _tensors


@pytest.fixture
def service():
    return KnownService()


@pytest.fixture
def client(service):
    with served(service) as server, triton.InferenceServerClient(server.address) as client:
        yield client


def test_candidates_are_scored_and_the_answer_says_which_state_it_is_of(service, client):
    result = client.infer("feed", asked(), request_id="r9", model_version="2")
    assert np.array_equal(result.as_numpy("is_click"), np.linspace(0, 1, 4, dtype=np.float32))
    assert result.as_numpy("order").tolist() == [3, 2, 1, 0]
    assert result.as_numpy("value").dtype == np.float32
    said = result.get_response()
    assert (said.id, said.model_name, said.model_version) == ("r9", "feed", "2")
    parameters = said.parameters
    assert parameters["history"].string_param == "line"
    assert (parameters["rows"].int64_param, parameters["missing.tag"].int64_param) == (30, 1)
    (request,) = service.requests
    assert request.context.column("city").to_pylist() == ["Čáslav"]
    assert request.context.column("past").to_pylist() == [[7, 8, 9]]
    assert request.candidates.column("tag").to_pylist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert request.candidates.column("new").to_pylist() == [True, False, True, False]
    assert request.candidates.column("kind").to_pylist() == [b"\xff" * i for i in range(4)]
    assert (request.id, request.user, request.version) == ("r9", 5, "2")


def test_only_the_outputs_that_are_asked_for_come(client):
    outputs = [triton.InferRequestedOutput("order")]
    said = client.infer("feed", asked(), outputs=outputs, parameters={"count": 2}).get_response()
    assert [each.name for each in said.outputs] == ["order"]
    assert list(said.outputs[0].shape) == [2]


def test_typed_contents_are_taken_like_raw_ones(service, client):
    request = service_pb2.ModelInferRequest(model_name="feed", id="t")

    def add(name, datatype, shape, **contents):
        made = request.inputs.add(name=name, datatype=datatype, shape=shape)
        made.contents.CopyFrom(service_pb2.InferTensorContents(**contents))

    add("user_id", "UINT8", [1], uint_contents=[5])
    add("city", "BYTES", [1], bytes_contents=["Ústí".encode()])
    add("video_id", "INT64", [2], int64_contents=[-1, 2**63 - 1])
    add("rate", "FP64", [2], fp64_contents=[0.25, 0.5])
    add("new", "BOOL", [2], bool_contents=[True, False])
    add("tag", "INT32", [2, 2], int_contents=[1, 2, 3, 4])
    add("past", "UINT64", [1, 1], uint64_contents=[6])
    answer = client._client_stub.ModelInfer(request)
    assert answer.id == "t"
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [0.25, 0.5]
    (request,) = service.requests
    assert request.context.to_pylist()[0]["city"] == "Ústí"
    assert request.candidates.column("video_id").to_pylist() == [-1, 2**63 - 1]
    assert request.candidates.column("tag").to_pylist() == [[1, 2], [3, 4]]


def message(**more):
    made = service_pb2.ModelInferRequest(model_name="feed", **more)
    for name in ("user_id", "video_id"):
        made.inputs.add(name=name, datatype="INT64", shape=[1])
    return made


def contents(**more):
    return service_pb2.InferTensorContents(**more)


def mixed(made):
    made.inputs[0].contents.int64_contents.append(1)
    made.raw_input_contents.extend([b"12345678"] * 2)


def unknown_output(made):
    made.raw_input_contents.extend([b"12345678"] * 2)
    made.outputs.add(name="is_like")


def of_a_parameter(name, kind="int64_param", value=1):
    def change(made):
        made.raw_input_contents.extend([b"12345678"] * 2)
        setattr(made.parameters[name], kind, value)

    return change


def of_an_input(made):
    made.raw_input_contents.extend([b"12345678"] * 2)
    made.inputs[0].parameters["shared_memory_region"].string_param = "x"


def of_an_output(made):
    made.raw_input_contents.extend([b"12345678"] * 2)
    made.outputs.add(name="order").parameters["classification"].int64_param = 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda made: made.raw_input_contents.append(b"12345678"), "2 inputs but 1 raw_input_contents"),
        (lambda made: made.raw_input_contents.extend([b"1"] * 2), "'user_id' of INT64 and shape [1] has 1 bytes; expected 8"),
        (mixed, "'user_id' has contents and there are raw_input_contents"),
        (lambda made: None, "'user_id' has shape [1] but 0 elements"),
        (lambda made: made.inputs[0].contents.fp32_contents.append(1), "'user_id' of INT64 has fp32_contents; expected int64"),
        (lambda made: setattr(made.inputs[0], "datatype", "FP16"), "'user_id' is FP16, which comes in raw_input_contents only"),
        (lambda made: setattr(made.inputs[0], "datatype", "INT128"), "'user_id' has datatype 'INT128'"),
        (unknown_output, "no output 'is_like'"),
        (of_a_parameter("sequence_id"), "no parameter 'sequence_id'; there are timeout, count"),
        (of_a_parameter("timeout", "double_param", 1.5), "'timeout' is 1.5"),
        (lambda made: made.parameters["timeout"].SetInParent(), "parameter 'timeout' has no value"),
        (of_an_input, "input 'user_id' has a parameter 'shared_memory_region'"),
        (of_an_output, "output 'order' has a parameter 'classification'"),
    ],
)  # fmt: skip
def test_a_malformed_request_is_told_what_is_wrong(client, change, said):
    made = message()
    change(made)
    with pytest.raises(grpc.RpcError) as caught:
        client._client_stub.ModelInfer(made)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in caught.value.details()


def test_a_priority_is_passed_over(client):
    assert client.infer("feed", asked(), priority=3).as_numpy("order") is not None


@pytest.mark.parametrize(("model", "version"), [("food", ""), ("feed", "1")])
def test_an_unknown_model_or_version_is_not_found(client, model, version):
    with pytest.raises(InferenceServerException, match="there is no model") as caught:
        client.infer(model, asked(), model_version=version)
    assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_too_many_candidates_are_refused(service):
    limits = GrpcLimits(candidates=3, stop_s=0.5)
    with served(service, limits=limits) as server, triton.InferenceServerClient(server.address) as client:
        with pytest.raises(InferenceServerException, match="at most 3 are allowed") as caught:
            client.infer("feed", asked(4))
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
        assert client.infer("feed", asked(3)) is not None


def test_a_refusal_reaches_the_client_with_its_status(service, client):
    for why, code in (
        (Why.UNAVAILABLE, "UNAVAILABLE"),
        (Why.TOO_LATE, "DEADLINE_EXCEEDED"),
        (Why.OVERLOADED, "RESOURCE_EXHAUSTED"),
    ):
        service.error = Refusal(why, "the reason", retry_after_s=0.5)
        with pytest.raises(InferenceServerException, match="the reason") as caught:
            client.infer("feed", asked())
        assert caught.value.status() == f"StatusCode.{code}"


def test_a_long_sentence_in_any_script_arrives_with_its_own_status(service, client):
    service.error = Refusal(Why.UNAVAILABLE, "💥" * 2000, retry_after_s=1.5)
    with pytest.raises(InferenceServerException) as caught:
        client.infer("feed", asked())
    assert caught.value.status() == "StatusCode.UNAVAILABLE"  # RESOURCE_EXHAUSTED if metadata are too large
    assert caught.value.message().startswith("💥💥")


def test_a_fault_of_the_service_hurts_nobody_else(service, client):
    service.error = RuntimeError("secret")
    with pytest.raises(InferenceServerException) as caught:
        client.infer("feed", asked(), request_id="r3")
    assert caught.value.status() == "StatusCode.INTERNAL"
    assert "r3" in caught.value.message()
    assert "secret" not in caught.value.message()
    service.error = None
    assert client.infer("feed", asked()) is not None


class Wide:
    """A service of one model, whose columns are read but which nobody asks."""

    def signature(self, model, version=""):
        return WIDE


LIMITS = GrpcLimits(candidates=4)
INFERENCE = Inference(Wide(), LIMITS)


def message_of(tensors, **more):
    made = service_pb2.ModelInferRequest(model_name="wide", id="7", **more)
    for name, datatype, raw, shape in tensors:
        made.inputs.add(name=name, datatype=datatype, shape=shape)
        made.raw_input_contents.append(raw)
    return made


def taken(data):
    """The columns that are read natively, None if they are not; and those that Python reads, or what it says."""
    asked, read = INFERENCE._plainly(data)
    try:
        head, raws = wire.split(data, 7)
        whole = parsed(INFERENCE._request, head)
        told = oip.request_of(WIDE, _tensors(whole, raws), most=LIMITS.candidates)
    except LarixError as error:
        return read, error
    if read is not None:
        whole.ClearField("inputs")
        assert asked == whole
    return read, (told.context, told.candidates)


@settings(max_examples=200, deadline=None)
@given(given_tensors(LIMITS.candidates, noise=False), st.binary(max_size=8))
def test_raw_tensors_that_fit_are_read_natively_and_as_python_reads_them(tensors, shift):
    made = message_of(tensors, model_version=shift.hex())
    native, told = taken(made.SerializeToString())
    assert native is not None
    assert_same(native, told)


@settings(max_examples=300, deadline=None)
@given(given_tensors(LIMITS.candidates, noise=True))
def test_whatever_raw_tensors_are_read_natively_are_what_python_reads(tensors):
    native, told = taken(message_of(tensors).SerializeToString())
    if native is not None:
        assert not isinstance(told, LarixError), told
        assert_same(native, told)


@settings(max_examples=500, deadline=None)
@given(
    given_tensors(2, noise=False),
    st.floats(0, 1, exclude_max=True),
    st.binary(max_size=3),
    st.integers(0, 3),
)
def test_damaged_messages_are_read_natively_only_as_protobuf_reads_them(tensors, where, put, cut):
    data = message_of(tensors).SerializeToString()
    at = int(where * (len(data) + 1))
    native, told = taken(data[:at] + put + data[at + cut :])
    if native is not None:
        assert not isinstance(told, LarixError), told
        assert_same(native, told)


def field(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


NAMED = [field(1, name) + field(2, b"INT64") for name in (b"user_id", b"id")]
ONE = (5).to_bytes(8, "little")


@pytest.mark.parametrize(
    "shape", [b"\x1a\x01\x01", b"\x18\x01", b"\x1a\x02\x81\x00", b"\x1a\x01\x01\x18\x01"]
)
def test_fields_may_come_in_any_order_and_sizes_one_by_one(shape):
    data = b"".join(field(7, ONE) for _ in NAMED) + b"".join(field(5, shape + name) for name in NAMED)
    native, told = taken(data)
    assert native is not None
    assert_same(native, told)


@pytest.mark.parametrize(
    "data",
    [
        b"".join(field(5, name + b"\x1a\x01\x01") + field(7, ONE) for name in NAMED) + more
        for more in (
            field(7, ONE),  # one too many
            field(5, NAMED[0] + b"\x1a\x01\x01"),  # one without
            field(5, NAMED[0] + b"\x1a\x01\x01") + field(7, ONE),  # there twice
            b"\x28\x01",  # an input that is a number
            b"\x39" + ONE,  # contents that are one
            b"\x0b\x0c",  # a group
            b"\x00\x01",  # a field without a number
            b"\x3a\x05abc",  # cut off
            b"\x08" + b"\xff" * 10,
        )
    ]
    + [
        b"".join(field(5, name + shape + more) + field(7, ONE) for name in NAMED)
        for shape, more in (
            (b"", b""),
            (b"\x1a\x00", b""),
            (b"\x1a\x03\x01\x01\x01", b""),
            (b"\x1a\x0a" + b"\xff" * 9 + b"\x01", b""),  # -1
            (b"\x19" + ONE, b""),
            (b"\x1a\x01\x01", field(4, field(1, b"x"))),  # a parameter
            (b"\x1a\x01\x01", field(5, b"\x1a\x01\x05")),  # contents
            (b"\x1a\x01\x01", field(1, b"user_id")),  # a second name
        )
    ],
)
def test_what_is_not_plain_is_left_to_who_tells_what_is_wrong(data):
    assert INFERENCE._plainly(data)[1] is None
    taken(data)  # tells, or reads: it does not fail


def test_tensors_that_are_aligned_stay_in_the_message_as_long_as_their_columns_live():
    tensors = [(name, "INT64", ONE, [1]) for name in ("user_id", "id")]
    at = []
    for more in range(8):  # a bytes object's content begins 32 bytes behind it
        data = message_of(tensors, model_version="x" * more).SerializeToString()
        before, start = sys.getrefcount(data), pa.py_buffer(data).address
        _, (context, candidates) = INFERENCE._plainly(data)
        at.append(candidates["id"].buffers()[1].address - start)
        assert sys.getrefcount(data) > before
        del context
        assert candidates["id"].to_pylist() == [5]
        del candidates
        assert sys.getrefcount(data) == before
    assert sum(0 <= each < 200 for each in at) == 1  # of eight places one is aligned


@pytest.mark.parametrize(("rows", "native"), [(4, True), (5, False)])
def test_more_candidates_than_are_allowed_are_left_to_who_says_so(rows, native):
    tensors = [("user_id", "INT64", ONE, [1]), ("id", "INT64", ONE * rows, [rows])]
    assert (INFERENCE._plainly(message_of(tensors).SerializeToString())[1] is not None) == native


def test_the_rest_of_a_message_is_all_but_its_tensors():
    made = message_of([("user_id", "INT64", ONE, [1])] * 3, model_version="2")
    made.parameters["count"].int64_param = 3
    made.outputs.add(name="order")
    rest = service_pb2.ModelInferRequest.FromString(message_rest(made.SerializeToString(), 11))
    del made.inputs[:], made.raw_input_contents[:]
    assert rest == made
    assert message_rest(b"\x3a\x05abc", 9) is None
    assert message_rest(b"\x3a\x00" * 9, 9) == b""
    assert message_rest(b"\x3a\x00" * 10, 9) is None


def test_megabytes_of_tiny_fields_are_refused_at_once(client):
    call = client._channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    good = message_of([("user_id", "INT64", ONE, [1]), ("video_id", "INT64", ONE, [1])]).SerializeToString()
    for unit in (b"\x08\x00", b"\x3a\x00", b"\x2a\x00", b"\x32\x00"):
        with pytest.raises(grpc.RpcError) as caught:
            call(good + unit * 1_000_000, timeout=30)
        assert "more than 16384 fields" in caught.value.details()
