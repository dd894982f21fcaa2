import pytest
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from tritonclient.grpc import model_config_pb2, service_pb2

import larix.serve.grpc
from larix.serve.grpc.messages import message, methods

NAMES = [
    *(name for name in service_pb2.DESCRIPTOR.message_types_by_name if name not in ("ModelStreamInferResponse",)),
    *("ModelConfig", "ModelInput", "ModelOutput"),
]  # fmt: skip
LEFT_OUT = ("SharedMemory", "Trace", "LogSettings", "MemoryUsage", "BatchStatistics", "ResponseStatistics")


def theirs(name):
    found = service_pb2.DESCRIPTOR.message_types_by_name.get(name)
    return found or model_config_pb2.DESCRIPTOR.message_types_by_name[name]


def shape_of(field):
    kind = field.message_type or field.enum_type
    return (field.name, field.number, field.type, field.is_repeated, kind and kind.full_name)


def compare(ours, other):
    wanted = {field.name: shape_of(field) for field in other.fields}
    assert ours.fields or not wanted
    for field in ours.fields:
        assert shape_of(field) == wanted[field.name], ours.full_name
    for nested in ours.nested_types:
        compare(nested, other.nested_types_by_name[nested.name])


@pytest.mark.parametrize("name", [name for name in NAMES if not any(word in name for word in LEFT_OUT)])
def test_every_message_has_the_fields_and_numbers_of_the_real_client(name):
    compare(message(f"inference.{name}").DESCRIPTOR, theirs(name))


def test_methods_take_and_give_what_the_real_client_sends_and_takes():
    known = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    for name, (request, response) in methods("inference.GRPCInferenceService").items():
        assert request.DESCRIPTOR.full_name == known[name].input_type.full_name
        assert response.DESCRIPTOR.full_name == known[name].output_type.full_name
        assert not known[name].client_streaming
        assert not known[name].server_streaming


def test_the_compiled_description_is_that_of_the_protos(tmp_path):
    folder = larix.serve.grpc.__path__[0]
    out = tmp_path / "protocol.binpb"
    protos = ["details.proto", "health.proto", "inference.proto"]
    assert protoc.main(["protoc", f"-I{folder}", f"--descriptor_set_out={out}", *protos]) == 0

    def read(path):
        with open(path, "rb") as file:
            return descriptor_pb2.FileDescriptorSet.FromString(file.read())

    assert read(out) == read(f"{folder}/protocol.binpb")
