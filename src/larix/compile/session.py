"""A loaded graph that answers requests: padded to the next bucket, on one of several streams, the GIL released.

Knows nothing of files or of what a back-end does.
"""

import queue
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from larix.compile.backends.backend import Runner, zeros
from larix.compile.feeds import Arrays, Wanted, parts_of
from larix.compile.graph import Graph, Input

_COPIED = 64 << 10  # bytes up to which a copy takes less time than telling the back-end of another array


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
        self.streams = streams
        self._runner, self._wanted = runner, Wanted(graph)
        self._inputs = tuple((each.name, each.per_request) for each in graph.inputs)
        self._names = tuple(name for name, _ in graph.outputs)
        self._free: queue.SimpleQueue[_Stream] = queue.SimpleQueue()
        for number in range(streams):
            rooms = [
                zeros(each, self.buckets[-1]) for each in graph.inputs
            ]  # smaller buckets lie in the largest
            padded = {rows: [room[:rows] for room in rooms] for rows in self.buckets}
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
        rows = self._wanted.rows(arrays)
        with self._stream() as stream:
            parts = [self._one(stream, arrays, start, end) for start, end in self._windows(rows)]
        return self._outputs(parts)

    def run_together(self, requests: Sequence[Arrays]) -> list[dict[str, NDArray[Any]]]:
        """What ``run`` gives for each of several requests, in as few runs as their candidates fit in.

        For a graph with nothing per request: see ``halves.lifted``. In each of ``requests`` an array of one row stands for as
        many as the others have. DataError as with ``run``.
        """
        assert not any(each.per_request for each in self.graph.inputs), "requests share a lifted graph only"
        rows = [self._wanted.rows(arrays, repeated=True) for arrays in requests]
        ends = list(accumulate(rows, initial=0))
        with self._stream() as stream:
            parts = [self._shared(stream, requests, ends, *window) for window in self._windows(ends[-1])]
        whole = self._outputs(parts)
        return [{name: each[start:end] for name, each in whole.items()} for start, end in pairwise(ends)]

    @contextmanager
    def _stream(self) -> Iterator[_Stream]:
        stream = self._free.get()
        try:
            yield stream
        finally:
            self._free.put(stream)

    def _windows(self, rows: int) -> list[tuple[int, int]]:
        """The rows of each run, first and last but one."""
        most = self.buckets[-1]
        return [(start, min(start + most, rows)) for start in range(0, max(rows, 1), most)]

    def _bucket(self, rows: int) -> int:
        return next(each for each in self.buckets if each >= rows)

    def _one(self, stream: _Stream, arrays: Arrays, start: int, end: int) -> list[NDArray[Any]]:
        bucket = self._bucket(end - start)
        inputs = []
        for (name, per_request), room in zip(self._inputs, stream.padded[bucket], strict=True):
            given = arrays[name] if per_request else arrays[name][start:end]
            if len(given) < len(room):  # what stands behind the candidates is of an earlier request
                room[: len(given)] = given  # and its results are cut off
            elif given.nbytes > _COPIED and given.flags.carray:
                inputs.append(given)
                continue
            else:
                np.copyto(room, given)
            inputs.append(room)
        return [each[: end - start] for each in self._runner.run(stream.number, bucket, inputs)]

    def _shared(
        self, stream: _Stream, requests: Sequence[Arrays], ends: Sequence[int], start: int, end: int
    ) -> list[NDArray[Any]]:
        bucket = self._bucket(end - start)
        rooms = stream.padded[bucket]
        for arrays, (first, last) in zip(requests, pairwise(ends), strict=True):
            low, high = max(first, start), min(last, end)
            if low < high:
                for (name, _), room in zip(self._inputs, rooms, strict=True):
                    given = arrays[name]
                    room[low - start : high - start] = (
                        given if len(given) == 1 else given[low - first : high - first]
                    )
        return [each[: end - start] for each in self._runner.run(stream.number, bucket, rooms)]

    def _outputs(self, parts: Sequence[Sequence[NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        those = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        return dict(zip(self._names, those, strict=True))
