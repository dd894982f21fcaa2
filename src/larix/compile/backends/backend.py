"""What a back-end is: it compiles a graph for a number of rows ahead of time, and loads what it compiled.

Knows nothing of files, of padding or of queues.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from larix.compile.feeds import numpy_dtype
from larix.compile.graph import Graph, Input, Rows
from larix.compile.optimise import Rule
from larix.compile.run import GraphModule


class Runner(Protocol):
    """A loaded graph."""

    def run(self, stream: int, rows: int, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs in the graph's order, ``rows`` of each; theirs to keep.

        ``arrays``: the inputs in the graph's order, contiguous and writable. No two calls of one stream at a time; the GIL
        is released.
        """
        ...


class Backend(ABC):
    """A way to carry out graphs. ``name`` is what artifacts are stored under.

    ``rules`` put a graph into the form that this back-end is quickest with, as ``int8_tile`` does, see ``lower``.
    """

    name: str
    kinds: frozenset[str] = frozenset({"fp32", "bf16", "int8"})
    rules: Sequence[Rule] = ()
    int8_tile = 1

    @abstractmethod
    def version(self) -> str:
        """Of the software that compiles; what it made is loaded by the same only. ConfigError if it is not installed."""

    @abstractmethod
    def compile(self, graph: Graph, rows: int) -> bytes:
        """The graph for ``rows`` candidates, as what ``load`` takes: no source that would be compiled then."""

    @abstractmethod
    def load(self, graph: Graph, compiled: Iterable[tuple[int, bytes]], streams: int) -> Runner:
        """Make what ``compile`` gave, each after its number of rows, ready for ``streams`` callers at a time, a thread each.

        All of ``compiled`` is gone through, once: it may be read only then.
        """


def exported(graph: Graph, rows: int, *, any_rows: bool = False) -> torch.export.ExportedProgram:
    """The graph for ``rows`` candidates as a program: what exporters of back-ends take.

    Its shapes are fixed, or, with ``any_rows``, for any number of candidates, 2 or more.
    """
    module = GraphModule(graph, None if any_rows else rows).eval()
    examples = tuple(torch.from_numpy(zeros(each, rows)) for each in graph.inputs)
    many = torch.export.Dim("rows", min=2, max=1 << 24)
    sizes = tuple({} if each.per_request else {0: many} for each in graph.inputs)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.export.export(module, examples, dynamic_shapes=(sizes,) if any_rows else None)


def zeros(each: Input, rows: int) -> NDArray[Any]:
    """An input of zeros for ``rows`` candidates."""
    count = 1 if each.per_request else rows
    shape = [size.times * count if isinstance(size, Rows) else size for size in each.shape]
    return np.zeros(shape, numpy_dtype(each.dtype))
