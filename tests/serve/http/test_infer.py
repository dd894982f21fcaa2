import json
import struct
import sys
import threading

import numpy as np
import pyarrow as pa
import pytest
import tritonclient.http as triton
from fake_service import predicted
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException
from wide import WIDE, assert_same, given_tensors

from larix.errors import LarixError
from larix.serve import oip
from larix.serve.http import Limits
from larix.serve.http.infer import Inference, InferInput, _tensors

IDS = np.array([10, 3, 20])


def tensor(name, values, datatype, *, binary=True):
    array = np.asarray(values)
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def inputs(*, binary=True):
    return [
        tensor("user_id", np.array([5]), "INT64", binary=binary),
        tensor("past", np.array([[1, 2, 4]]), "INT64", binary=binary),
        tensor("city", np.array(["Łódź".encode()], np.object_), "BYTES", binary=True),
        tensor("video_id", IDS, "INT64", binary=binary),
        tensor("rate", np.array([0.5, 1, 2], np.float32), "FP32", binary=binary),
        tensor("tag", np.array([7, 8, 9, 9]), "INT64", binary=binary),
        tensor("tag.lengths", np.array([1, 0, 3]), "INT64", binary=binary),
        tensor("new", np.array([True, False, True]), "BOOL", binary=binary),
    ]


@pytest.fixture
def client(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as made:
        yield made


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_the_protocols_own_client_gets_what_the_model_predicts(client, service, binary, packed):
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary)
        for name in ("order", "is_click", "play", "value")
    ]
    found = client.infer(
        "feed",
        inputs(binary=binary),
        outputs=outputs,
        request_id="mine",
        timeout=30_000_000,
        request_compression_algorithm=packed,
        response_compression_algorithm=packed,
    )
    expected = predicted(IDS)
    for task, scores in expected.items():
        np.testing.assert_array_equal(found.as_numpy(task), scores)
    np.testing.assert_array_equal(found.as_numpy("value"), expected["is_click"])
    np.testing.assert_array_equal(found.as_numpy("order"), [1, 0, 2])
    told = found.get_response()
    assert (told["id"], told["model_name"], told["model_version"]) == ("mine", "feed", "7")
    assert told["parameters"]["rows"] == 30
    (request,) = service.requests
    assert request.candidates.column("tag").to_pylist() == [[7], [], [8, 9, 9]]
    assert request.context.to_pylist()[0]["city"] == "Łódź"
    assert request.context.to_pylist()[0]["past"] == [1, 2, 4]


def test_all_outputs_come_if_none_is_named_and_a_long_answer_may_be_packed(client):
    ids = np.arange(5000)
    found = client.infer(
        "feed",
        [tensor("user_id", np.array([5]), "INT64"), tensor("video_id", ids, "INT64")],
        model_version="7",
        response_compression_algorithm="gzip",
    )
    np.testing.assert_array_equal(found.as_numpy("play"), predicted(ids)["play"])
    assert sorted(found.as_numpy("order").tolist()) == ids.tolist()


def test_several_requests_at_once_get_their_own_answers(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=8) as client:
        waiting = [
            client.async_infer(
                "feed",
                [tensor("user_id", np.array([n]), "INT64"), tensor("video_id", np.arange(n, n + 5), "INT64")],
                request_id=str(n),
            )
            for n in range(1, 40)
        ]
        for n, each in enumerate(waiting, 1):
            found = each.get_result()
            assert found.get_response()["id"] == str(n)
            np.testing.assert_array_equal(found.as_numpy("play"), predicted(np.arange(n, n + 5))["play"])


def test_binary_tensors_stay_in_the_body_where_they_are_aligned():
    body = np.arange(8).tobytes()
    there = pa.py_buffer(body).address
    asked = [
        InferInput(name=name, shape=[size], datatype="INT64", parameters={"binary_data_size": 8 * size})
        for name, size in (("a", 3), ("b", 5))
    ]
    first, second = _tensors(asked, memoryview(body))
    starts = [np.asarray(each.values).__array_interface__["data"][0] for each in (first, second)]
    assert starts == [there, there + 24]
    assert second.values.tolist() == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["video_id"], "'user_id' is missing"),
        (["user_id"], "'video_id' is missing"),
        (["user_id", "video_id", "colour"], "no input 'colour'"),
        (["user_id", "video_id", "video_id"], "there twice"),
    ],
)
def test_the_client_is_told_what_does_not_fit(client, names, why):
    made = [tensor(name, np.array([5]), "INT64") for name in names]
    with pytest.raises(InferenceServerException, match=why) as told:
        client.infer("feed", made)
    assert told.value.status() == "400"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d["inputs"][1].update(parameters={"binary_data_size": 15}), "bytes"),
        (lambda d: d["inputs"][1].update(parameters={"binary_data_size": 17}), "are left of the body"),
        (lambda d: d["inputs"][1].update(parameters={"binary_data_size": -1}), "are left of the body"),
        (lambda d: d["inputs"][1].update(parameters={"binary_data_size": "16"}), "are left of the body"),
        (lambda d: d["inputs"][1].update(parameters={}), "neither data nor"),
        (lambda d: d["inputs"][1].update(data=[1, 2]), "give one"),
        (lambda d: d["inputs"][1].update(shape=[-2]), "shape"),
        (lambda d: d["inputs"][1].update(shape=[2**62]), "16 bytes; expected"),
        (lambda d: d["inputs"][0].update(shape=[2**62]), "1 elements"),
        (lambda d: d["inputs"][1].update(datatype="INT65"), "datatype 'INT65'"),
        (lambda d: d["inputs"].pop(1), "belong to no tensor"),
        (lambda d: d.update(inputs=[]), "belong to no tensor"),
        (lambda d: d.update(outputs=[{"name": "score"}]), "no output 'score'"),
        (
            lambda d: d.update(outputs=[{"name": "value", "parameters": {"classification": 3}}]),
            "'classification'",
        ),
        (lambda d: d.update(parameters={"sequence_id": 3}), "no parameter 'sequence_id'"),
        (lambda d: d.update(parameters={"timeout": -3}), "parameter 'timeout'"),
    ],
)
def test_wrong_sizes_and_parameters_are_refused(talk, change, why):
    document = {
        "inputs": [
            {"name": "user_id", "shape": [1], "datatype": "INT64", "data": [5]},
            {"name": "video_id", "shape": [2], "datatype": "INT64", "parameters": {"binary_data_size": 16}},
        ]
    }
    change(document)
    head = json.dumps(document).encode()
    body = head + struct.pack("<2q", 1, 2)
    told = talk("POST", "/v2/models/feed/infer", body, {"inference-header-content-length": str(len(head))})
    assert told.status in (400, 413), told.body
    assert why in told.document["error"]


@pytest.mark.parametrize("length", ["-1", "x", "99999", "9" * 30, "1.5", "٣"])
def test_a_wrong_length_of_the_json_is_refused(talk, length):
    told = talk("POST", "/v2/models/feed/infer", b"{}", {"inference-header-content-length": length})
    assert told.status == 400


class Wide:
    """A service of one model, whose columns are read but which nobody asks."""

    def signature(self, model, version=""):
        return WIDE


LIMITS = Limits(candidates=4)
INFERENCE = Inference(Wide(), LIMITS)


@st.composite
def binary(draw, noise):
    """A body with binary tensors, and bytes of JSON in it; with ``noise`` something of it may not fit."""
    told, raws = [], b""
    for name, datatype, raw, shape in draw(given_tensors(LIMITS.candidates, noise)):
        told.append(
            {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
        )
        raws += raw
    head = json.dumps({"id": "7", "inputs": told, "parameters": {"count": 2}}, ensure_ascii=noise).encode()
    head = head.ljust(len(head) + draw(st.integers(0, 8)))
    return head + raws, len(head)


def taken(body, length):
    """The columns that are read natively, None if they are not; and those that Python reads, or what it says."""
    asked, read = INFERENCE._plainly(body, length, "feed", "")
    whole = INFERENCE._decoder.decode(body[:length])
    try:
        tensors = _tensors(whole.inputs, memoryview(body)[length:])
        told = oip.request_of(WIDE, tensors, most=LIMITS.candidates)
    except LarixError as error:
        return read, error
    if read is not None:
        assert (asked.id, asked.parameters) == (whole.id, whole.parameters)
    return read, (told.context, told.candidates)


@settings(max_examples=300, deadline=None)
@given(binary(noise=False))
def test_binary_tensors_that_fit_are_read_natively_and_as_python_reads_them(case):
    native, told = taken(*case)
    assert native is not None
    assert_same(native, told)


@settings(max_examples=500, deadline=None)
@given(binary(noise=True))
def test_whatever_tensors_are_read_natively_are_what_python_reads(case):
    native, told = taken(*case)
    if native is not None:
        assert not isinstance(told, LarixError), told
        assert_same(native, told)


def test_tensors_that_are_aligned_stay_in_the_body_as_long_as_their_columns_live():
    told = [
        {"name": name, "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}}
        for name in ("user_id", "id")
    ]
    head = json.dumps({"inputs": told}).encode()
    # A bytes object's content begins 32 bytes behind it.
    body = head.ljust(-(-len(head) // 8) * 8) + np.array([5, 7]).tobytes()
    before = sys.getrefcount(body)
    _, (context, candidates) = INFERENCE._plainly(body, len(body) - 16, "feed", "")
    start = pa.py_buffer(body).address
    assert context["user_id"].buffers()[1].address == start + len(body) - 16
    assert candidates["id"].buffers()[1].address == start + len(body) - 8
    assert sys.getrefcount(body) > before
    del context
    assert candidates["id"].to_pylist() == [7]
    del candidates
    assert sys.getrefcount(body) == before


def test_columns_may_be_let_go_of_by_any_thread():
    body, length = head_and_ids(range(4))
    _, read = INFERENCE._plainly(body, length, "feed", "")
    held = [read]
    del read
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert sys.getrefcount(body) == 2


def head_and_ids(ids):
    told = [
        {"name": name, "shape": [size], "datatype": "INT64", "parameters": {"binary_data_size": 8 * size}}
        for name, size in (("user_id", 1), ("id", len(ids)))
    ]
    head = json.dumps({"inputs": told}).encode()
    return head + np.array([5, *ids]).tobytes(), len(head)


@pytest.mark.parametrize(("rows", "native"), [(4, True), (5, False)])
def test_more_candidates_than_are_allowed_are_left_to_who_says_so(rows, native):
    body, length = head_and_ids(range(rows))
    assert (INFERENCE._plainly(body, length, "feed", "")[1] is not None) == native
