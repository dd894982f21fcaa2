"""From whole arrays, as captured, to those that a hoisted graph takes, and checks of what callers give.

Knows nothing of how a graph is carried out.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from larix.compile.graph import Graph, Input
from larix.errors import DataError

Arrays = Mapping[str, NDArray[Any]]
_REQUEST, _CANDIDATE = ".request", ".candidate"


def parts_of(
    captured: Sequence[Input], graph: Graph, arrays: Arrays, *, each: bool = False
) -> dict[str, NDArray[Any]]:
    """The graph's inputs, cut from ``arrays`` with the captured graph's names and whole columns.

    What is per request is taken from row 0; with ``each`` from every row, as every row is a request of its own.
    """
    layout = {given.name: given for given in captured}
    found = {}
    for wanted in graph.inputs:
        name = wanted.name
        if name not in layout:
            name = name.removesuffix(_REQUEST if wanted.per_request else _CANDIDATE)
        array = arrays[name]
        if name != wanted.name:
            array = array[..., _picked(layout[name], wanted.per_request)]
        found[wanted.name] = array[:1] if wanted.per_request and not each else array
    return found


def _picked(given: Input, per_request: bool) -> NDArray[np.int64]:
    ends = np.cumsum([column.width for column in given.columns])
    ranges = [
        np.arange(end - column.width, end)
        for column, end in zip(given.columns, ends, strict=True)
        if column.per_request == per_request
    ]
    return np.concatenate(ranges)


@cache
def numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    """The numpy dtype of an input."""
    return torch.empty(0, dtype=dtype).numpy().dtype


class Wanted:
    """What a graph's inputs must be like, for whoever asks again and again."""

    def __init__(self, graph: Graph) -> None:
        self._inputs = tuple(
            (each.name, numpy_dtype(each.dtype), each.shape[1:], each.per_request) for each in graph.inputs
        )
        self._names = frozenset(each.name for each in graph.inputs)

    def rows(self, arrays: Arrays, *, repeated: bool = False) -> int:
        """How many candidates ``arrays`` hold. DataError if they are not what the graph takes.

        With ``repeated`` an array of one row stands for as many as the others have.
        """
        if arrays.keys() != self._names:
            raise DataError(f"a request holds {sorted(arrays)}; this graph takes {sorted(self._names)}")
        rows: dict[int, str] = {}
        for name, dtype, inner, per_request in self._inputs:
            array = arrays[name]
            shape = array.shape
            if array.dtype != dtype or not shape or shape[1:] != inner:
                told = ", ".join(["1" if per_request else "n", *map(str, inner)])
                raise DataError(f"input '{name}' is {array.dtype} {shape}; give {dtype} [{told}]")
            if not per_request:
                rows.setdefault(shape[0], name)
            elif shape[0] != 1:
                raise DataError(f"input '{name}' is per request but has {shape[0]} rows; give one")
        if repeated and len(rows) > 1:
            rows.pop(1, None)
        if len(rows) > 1:
            told = " and ".join(f"'{name}' has {count}" for count, name in rows.items())
            raise DataError(f"candidates differ in number: {told}; give as many rows of each")
        return next(iter(rows), 1)
