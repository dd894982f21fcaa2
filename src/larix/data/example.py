"""The message tf.train.Example, built from its description: no TensorFlow, no generated code. Knows nothing
of files.

Needs the extra ``larix[tfrecord]``.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from larix.errors import ConfigError, DataError

Parse = Callable[[bytes, int, Path], Mapping[str, Any]]
_LISTS = {"bytes_list": "BytesList", "float_list": "FloatList", "int64_list": "Int64List"}


def parser() -> Parse:
    """Make the function from (bytes, record number, file) to the features of an Example by name.

    A feature has ``WhichOneof("kind")`` and, by that name, a list with ``value``. The function raises a
    DataError that names record and file where the bytes are no Example.

    Raises:
        ConfigError: protobuf is not installed.
    """
    try:
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise ConfigError("TFRecord files need protobuf; pip install 'larix[tfrecord]'") from error
    example = _message_type()

    def parse(record: bytes, number: int, path: Path) -> Mapping[str, Any]:
        try:
            features: Mapping[str, Any] = example.FromString(record).features.feature
        except DecodeError as error:
            raise DataError(f"record {number} of '{path}' is no tf.train.Example: {error}") from error
        return features

    return parse


def _message_type() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    file = descriptor_pb2.FileDescriptorProto(name="larix/example.proto", package="larix", syntax="proto3")
    scalars = (field.TYPE_BYTES, field.TYPE_FLOAT, field.TYPE_INT64)
    for name, scalar in zip(_LISTS.values(), scalars, strict=True):
        file.message_type.add(name=name).field.add(name="value", number=1, type=scalar, label=many)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, of) in enumerate(_LISTS.items(), start=1):
        feature.field.add(
            name=name,
            number=number,
            type=field.TYPE_MESSAGE,
            type_name=f".larix.{of}",
            label=one,
            oneof_index=0,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=one)
    entry.field.add(name="value", number=2, type=field.TYPE_MESSAGE, type_name=".larix.Feature", label=one)
    features.field.add(
        name="feature",
        number=1,
        type=field.TYPE_MESSAGE,
        type_name=".larix.Features.FeatureEntry",
        label=many,
    )
    example = file.message_type.add(name="Example")
    example.field.add(
        name="features", number=1, type=field.TYPE_MESSAGE, type_name=".larix.Features", label=one
    )
    pool = descriptor_pool.DescriptorPool()  # of its own, so that it meets no other description
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("larix.Example"))
