"""A loaded graph that answers requests: padded to the next bucket, on one of several streams, the GIL released.

Knows nothing of files or of what a back-end does.
"""

import queue
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from larix.compile.backends.backend import Runner, zeros
from larix.compile.feeds import Arrays, checked_rows, parts_of
from larix.compile.graph import Graph, Input


@dataclass(frozen=True, slots=True)
class _Stream:
    number: int
    padded: Mapping[int, list[NDArray[Any]]]  # by bucket: the inputs in order, to be written into


class Session:
    """A compiled graph in use. Any number of threads may call; as many as there are streams are served at a time.

    Every bucket of every stream has been run once when it is made.
    """

    def __init__(
        self, graph: Graph, captured: Sequence[Input], runner: Runner, buckets: Sequence[int], streams: int
    ) -> None:
        self.graph, self.captured, self.buckets = graph, tuple(captured), tuple(sorted(buckets))
        self._runner = runner
        self._free: queue.SimpleQueue[_Stream] = queue.SimpleQueue()
        for number in range(streams):
            padded = {rows: [zeros(each, rows) for each in graph.inputs] for rows in self.buckets}
            for rows, arrays in padded.items():
                runner.run(number, rows, arrays)
            self._free.put(_Stream(number, padded))

    def parts(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """What ``run`` takes, cut from arrays with the columns of the captured network and a row for each candidate."""
        return parts_of(self.captured, self.graph, arrays)

    def run(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """The outputs by name, a row for each candidate. Waits for a free stream.

        ``arrays``: by ``graph.inputs``: one row of those per request, n of the others. More than the largest bucket
        go in several runs. DataError if they are not what the graph takes.
        """
        rows = checked_rows(self.graph, arrays)
        most = self.buckets[-1]
        stream = self._free.get()
        try:
            starts = range(0, max(rows, 1), most)
            parts = [self._one(stream, arrays, start, min(rows - start, most)) for start in starts]
        finally:
            self._free.put(stream)
        names = [name for name, _ in self.graph.outputs]
        if len(parts) == 1:
            return dict(zip(names, parts[0], strict=True))
        return {
            name: np.concatenate(those) for name, those in zip(names, zip(*parts, strict=True), strict=True)
        }

    def _one(self, stream: _Stream, arrays: Arrays, start: int, rows: int) -> list[NDArray[Any]]:
        bucket = next(each for each in self.buckets if each >= rows)
        inputs = []
        for each, room in zip(self.graph.inputs, stream.padded[bucket], strict=True):
            given = arrays[each.name] if each.per_request else arrays[each.name][start : start + rows]
            if len(given) == len(room) and given.flags.c_contiguous:
                inputs.append(given)
            else:  # what stands behind the candidates is of an earlier request; its results are cut off
                room[: len(given)] = given
                inputs.append(room)
        return [each[:rows] for each in self._runner.run(stream.number, bucket, inputs)]
