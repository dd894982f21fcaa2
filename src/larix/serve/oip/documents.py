"""What a server and a model say of themselves by the Open Inference Protocol, as plain objects ready for JSON.

Keys are the protocol's own, so that messages of the same names can be made of them. Knows nothing of sockets.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

import larix
from larix.features import Task
from larix.serve.oip.infer import LENGTHS, ORDER, output_names
from larix.serve.oip.tensor import datatype_of
from larix.serve.service import Columns, ModelStatus

PLATFORM = "larix"
EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")


def server_metadata() -> dict[str, Any]:
    """Who serves and which extensions of the protocol it has."""
    return {"name": "larix", "version": larix.__version__, "extensions": list(EXTENSIONS)}


def model_metadata(
    name: str, versions: Sequence[str], columns: Columns, tasks: Sequence[Task]
) -> dict[str, Any]:
    """The inputs and outputs of a model by name, datatype and shape; -1 is any number.

    Lists of candidates are told as two tensors, as lists of different lengths have to come. Those of one length may also
    come as ``[n, k]``.
    """
    return {
        "name": name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [
            {"name": each, "datatype": datatype, "shape": shape}
            for each, datatype, shape, _ in _inputs(columns)
        ],
        "outputs": [
            {"name": each, "datatype": "INT64" if each == ORDER else "FP32", "shape": [-1]}
            for each in output_names(tasks)
        ],
    }


def model_config(name: str, columns: Columns, tasks: Sequence[Task]) -> dict[str, Any]:
    """The same as a model configuration, which also tells optional inputs. No dimension is the batch: that is made inside."""
    return {
        "name": name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "max_batch_size": 0,
        "input": [
            {"name": each, "data_type": _config_type(datatype), "dims": shape, "optional": optional}
            for each, datatype, shape, optional in _inputs(columns)
        ],
        "output": [
            {"name": each, "data_type": "TYPE_INT64" if each == ORDER else "TYPE_FP32", "dims": [-1]}
            for each in output_names(tasks)
        ],
    }


def _inputs(columns: Columns) -> list[tuple[str, str, list[int], bool]]:
    found = []
    optional = columns.optional | {columns.time}
    for schema, rows in ((columns.context, 1), (columns.candidates, -1)):
        for field in schema:
            lists = pa.types.is_list(field.type)
            shape = [1, -1] if lists and rows == 1 else [-1] if lists else [rows]
            found.append((field.name, datatype_of(field.type), shape, field.name in optional))
            if lists and rows != 1:
                found.append((field.name + LENGTHS, "INT64", [-1], field.name in optional))
    return found


def _config_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


def repository_index(models: Sequence[ModelStatus]) -> list[dict[str, str]]:
    """Every version of every model, with its state and why it is in it."""
    return [
        {"name": model.name, "version": each.version, "state": each.state.value, "reason": each.reason}
        for model in models
        for each in model.versions
    ]
