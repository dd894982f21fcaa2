"""OpenVINO on the CPU: the fastest back-end there, and the default. The only file that knows it."""

import functools
import io
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from larix.compile.backends.backend import Backend, Runner, exported, zeros
from larix.compile.graph import Graph
from larix.compile.rules import cheaper, mix, turn
from larix.errors import ConfigError, StorageError

_REPORTS = "openvino_telemetry"
_IMPORTING = threading.Lock()


@contextmanager
def _without_reports() -> Iterator[None]:
    """What is imported within finds no way to report to its makers how it is used.

    To report, OpenVINO forks the process that imports it, with all its threads, and that child waits for the network, or for
    good for a lock that one of those threads held: a server neither calls strangers nor forks.
    """
    known = sys.modules.pop(_REPORTS, None)
    sys.modules[_REPORTS] = None  # type: ignore[assignment] # as the import system has it: there is no such module
    try:
        yield
    finally:
        del sys.modules[_REPORTS]
        if known is not None:
            sys.modules[_REPORTS] = known


def _openvino() -> Any:
    try:
        with _IMPORTING, _without_reports():
            import openvino
    except ImportError as error:
        raise ConfigError(
            "OpenVINO is not installed; pip install 'larix[openvino]', or use Eager()"
        ) from error
    return openvino


_MAKING = threading.Lock()


@functools.cache
def _core_of_the_process() -> Any:
    return _openvino().Core()


def _core() -> Any:
    """The process's one Core, which is never given back.

    The CPU plugin gives the thread that loads it a stack for signals (those of AMX need more room than is usual) and frees
    that with the last Core, on whatever thread that goes: the next signal to the first one, a Ctrl-C, ended the process.
    """
    with _MAKING:
        return _core_of_the_process()


class OpenVINO(Backend):
    """Compiled models of OpenVINO's CPU plugin, one a bucket, each stream an infer request of one thread.

    Precision is what the graph says: OpenVINO's own choice (bf16 wherever the CPU has it) is turned off.
    """

    name = "openvino"
    rules = (mix, turn, cheaper)
    int8_tile = 64

    def version(self) -> str:
        """OpenVINO's, with its build."""
        return str(_openvino().__version__)

    def __init__(self) -> None:
        self._converted: tuple[Graph, Any] | None = None  # a graph for any number of rows

    def compile(self, graph: Graph, rows: int) -> bytes:
        """A blob of the CPU plugin, for this instruction set and this version."""
        blob = _core().compile_model(self._model(graph, rows), "CPU", _settings(1)).export_model()
        return bytes(blob.getvalue() if isinstance(blob, io.BytesIO) else blob)

    def _model(self, graph: Graph, rows: int) -> Any:
        """The graph for ``rows`` candidates. Converting takes longest, so that several sizes share it where they can."""
        # torch cannot export what int8 is written as without its sizes.
        simulated = any("fake_quantize" in node.op for node in graph.nodes)
        if simulated or all(each.per_request for each in graph.inputs):
            model = _convert(exported(graph, rows))
        else:
            if self._converted is None or self._converted[0] is not graph:
                self._converted = graph, _convert(exported(graph, max(rows, 2), any_rows=True))
            model = self._converted[1].clone()
        # A converted model has inputs of any size, whatever it was exported for. With sizes that it knows the plugin plans its
        # memory once, without them at each run.
        model.reshape({port: list(zeros(graph.inputs[_number(port)], rows).shape) for port in model.inputs})
        return model

    def load(self, graph: Graph, compiled: Iterable[tuple[int, bytes]], streams: int) -> Runner:
        """Read the blobs; StorageError if OpenVINO refuses one."""
        core = _core()
        requests: dict[int, list[Any]] = {}
        order: list[int] = []
        for rows, blob in compiled:
            try:
                model = core.import_model(blob, "CPU", _settings(streams))
            except RuntimeError as error:
                first = str(error).strip().splitlines()[-1]
                raise StorageError(
                    f"OpenVINO refuses the artifact of {rows} rows: {first}; compile it again"
                ) from error
            order = [_number(each) for each in model.inputs]
            requests[rows] = [model.create_infer_request() for _ in range(streams)]
        return _OpenVINO(requests, order)


def _convert(program: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch about torch
        return _openvino().convert_model(program)


def _number(port: Any) -> int:
    """Which input of the graph a model's is; those that nothing reads are left out."""
    return next(int(name.rpartition("_")[2]) for name in port.get_names() if name.startswith("tensors_"))


def _settings(streams: int) -> dict[str, Any]:
    return {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,  # the cores are shared with lookups and with the server
    }


class _OpenVINO:
    """A request reads the arrays that it was given last until it is given others, which takes longer than to fill them."""

    def __init__(self, requests: Mapping[int, Sequence[Any]], order: Sequence[int]) -> None:
        self._requests, self._order = requests, order
        self._tensor = _openvino().Tensor
        self._bound: dict[int, list[list[Any]]] = {
            rows: [[None] * len(order) for _ in those] for rows, those in requests.items()
        }

    def run(self, stream: int, rows: int, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        request, bound = self._requests[rows][stream], self._bound[rows][stream]
        for at, number in enumerate(self._order):
            if bound[at] is not arrays[number]:
                request.set_input_tensor(at, self._tensor(arrays[number], shared_memory=True))
                bound[at] = arrays[number]
        found = request.infer(share_outputs=True)
        return [np.array(each) for each in found.values()]
