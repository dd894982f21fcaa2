import json
import math

from asked import SIGNATURE, TASKS

import larix
from larix.serve.oip import from_values, model_config, model_metadata, request_of, server_metadata


def test_a_server_says_what_it_is():
    said = server_metadata()
    assert (said["name"], said["version"]) == ("larix", larix.__version__)
    assert "binary_tensor_data" in said["extensions"]
    assert json.loads(json.dumps(said)) == said


def test_metadata_tell_every_input_and_output_by_type_and_shape():
    said = model_metadata("feed", ["7", "6"], SIGNATURE, TASKS)
    assert json.loads(json.dumps(said)) == said
    assert (said["name"], said["versions"], said["platform"]) == ("feed", ["7", "6"], "larix")
    assert {each["name"]: (each["datatype"], each["shape"]) for each in said["inputs"]} == {
        "user_id": ("INT64", [1]),
        "time_ms": ("INT64", [1]),
        "city": ("BYTES", [1]),
        "past": ("INT64", [1, -1]),
        "video_id": ("INT64", [-1]),
        "rate": ("FP32", [-1]),
        "new": ("BOOL", [-1]),
        "tag": ("INT64", [-1]),
        "tag.lengths": ("INT64", [-1]),
        "kind": ("BYTES", [-1]),
    }
    assert {each["name"]: (each["datatype"], each["shape"]) for each in said["outputs"]} == {
        "is_click": ("FP32", [-1]),
        "play": ("FP32", [-1]),
        "value": ("FP32", [-1]),
        "order": ("INT64", [-1]),
    }


def test_a_configuration_tells_the_same_and_what_may_be_left_out():
    said = model_config("feed", SIGNATURE, TASKS)
    told = model_metadata("feed", ["7"], SIGNATURE, TASKS)
    assert [(each["name"], each["dims"]) for each in said["input"]] == [
        (each["name"], each["shape"]) for each in told["inputs"]
    ]
    types = {each["name"]: each["data_type"] for each in (*said["input"], *said["output"])}
    assert (types["user_id"], types["city"], types["new"]) == ("TYPE_INT64", "TYPE_STRING", "TYPE_BOOL")
    assert (types["order"], types["value"]) == ("TYPE_INT64", "TYPE_FP32")
    assert [each["name"] for each in said["input"] if not each["optional"]] == ["user_id", "video_id"]


def test_what_metadata_tell_is_what_requests_take():
    tensors = []
    for each in model_metadata("feed", [], SIGNATURE, TASKS)["inputs"]:
        shape = [3 if size == -1 else size for size in each["shape"]]
        value = {"INT64": 1, "FP32": 0.5, "BOOL": True, "BYTES": "x"}[each["datatype"]]
        tensors.append(from_values(each["name"], each["datatype"], shape, [value] * math.prod(shape)))
    request = request_of(SIGNATURE, tensors)
    assert request.candidates.column("tag").to_pylist() == [[1], [1], [1]]
    assert request.context.column("past").to_pylist() == [[1, 1, 1]]
