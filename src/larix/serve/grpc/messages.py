"""The messages and methods of `inference.proto` and its neighbours, from their compiled description: no generated code.

They live in a pool of their own, so that a process may also hold a client's messages of the same names.
"""

from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Message = Any
"""An instance of a class that ``message`` gives; its fields are those of the proto."""


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    described = (files(__package__) / "protocol.binpb").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(described).file:
        pool.Add(file)
    return pool


@cache
def message(name: str) -> Any:
    """The class of the message ``name``, as `inference.ModelInferRequest`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


def methods(service: str) -> dict[str, tuple[Any, Any]]:
    """The classes of request and response by the names of the methods of ``service``."""
    found = _pool().FindServiceByName(service).methods
    return {
        each.name: (message(each.input_type.full_name), message(each.output_type.full_name)) for each in found
    }
