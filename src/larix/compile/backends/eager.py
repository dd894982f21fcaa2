"""torch eager: the oracle, and what runs where nothing else is installed. Artifacts hold the graph, which is data."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from larix.compile.backends.backend import Backend, Runner
from larix.compile.graph import Graph
from larix.compile.run import run


class Eager(Backend):
    """Nodes are called one by one from Python; torch releases the GIL inside each only. int8 is simulated."""

    name = "eager"

    def version(self) -> str:
        """torch's."""
        return str(torch.__version__)

    def compile(self, graph: Graph, rows: int) -> bytes:
        """Nothing: the artifact holds the graph anyway."""
        return b""

    def load(self, graph: Graph, compiled: Iterable[tuple[int, bytes]], streams: int) -> Runner:
        """The graph as it is."""
        for _ in compiled:
            pass
        return _Eager(graph)


class _Eager:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def run(self, stream: int, rows: int, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        names = [each.name for each in self._graph.inputs]
        inputs = {name: torch.from_numpy(array) for name, array in zip(names, arrays, strict=True)}
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # of this thread's kernels: a stream is one thread
        try:
            return [each.numpy().copy() for each in run(self._graph, inputs, rows).values()]
        finally:
            torch.set_num_threads(threads)
