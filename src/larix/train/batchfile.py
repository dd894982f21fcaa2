"""A batch as a safetensors file, to look at what a step failed on. Knows nothing of steps."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from larix.batch import Batch, History, Jagged
from larix.errors import StorageError

_PARTS = ("labels", "weight", "rate", "group", "scene", "time")


def write_batch(batch: Batch, path: Path) -> None:
    """Write every array of ``batch``; StorageError if the file cannot be written."""
    arrays: dict[str, NDArray[Any]] = {"dense": batch.dense}
    for name, jagged in batch.ids.items():
        arrays[f"ids/{name}/values"] = jagged.values
        if jagged.offsets is not None:
            arrays[f"ids/{name}/offsets"] = jagged.offsets
        if jagged.weights is not None:
            arrays[f"ids/{name}/weights"] = jagged.weights
    for name, history in batch.sequences.items():
        arrays[f"sequences/{name}/offsets"] = history.offsets
        arrays[f"sequences/{name}/dense"] = history.dense
        for element, ids in history.ids.items():
            arrays[f"sequences/{name}/ids/{element}"] = ids
    arrays |= {name: array for name in _PARTS if (array := getattr(batch, name)) is not None}
    try:
        path.write_bytes(
            safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in arrays.items()})
        )
    except OSError as error:
        raise StorageError(f"the batch could not be written to '{path}': {error.strerror}") from error


def read_batch(path: Path) -> Batch:
    """Return the batch that ``write_batch`` wrote, but for its counts of missing ids."""
    try:
        arrays = safetensors.numpy.load(path.read_bytes())
    except (OSError, safetensors.SafetensorError) as error:
        raise StorageError(f"'{path}' cannot be read as a batch: {error}") from error
    jagged: dict[str, dict[str, NDArray[Any]]] = {}
    sequences: dict[str, dict[str, NDArray[Any]]] = {}
    for path_in_file, array in arrays.items():
        match path_in_file.split("/", 2):
            case ["ids", name, part]:
                jagged.setdefault(name, {})[part] = array
            case ["sequences", name, part]:
                sequences.setdefault(name, {})[part] = array
    return Batch(
        size=len(arrays["dense"]),
        ids={name: Jagged(**parts) for name, parts in jagged.items()},
        sequences={
            name: History(
                offsets=parts["offsets"],
                ids={part.removeprefix("ids/"): a for part, a in parts.items() if part.startswith("ids/")},
                dense=parts["dense"],
            )
            for name, parts in sequences.items()
        },
        dense=arrays["dense"],
        labels=arrays.get("labels"),
        weight=arrays.get("weight"),
        rate=arrays.get("rate"),
        group=arrays.get("group"),
        scene=arrays.get("scene"),
        time=arrays.get("time"),
    )
