"""ONNX Runtime on the CPU. The only file that knows it."""

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from larix.compile.backends.backend import Backend, Runner, exported
from larix.compile.graph import Graph
from larix.errors import ConfigError, StorageError


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            "ONNX Runtime is not installed; pip install 'larix[onnx]', or use Eager()"
        ) from error
    return onnxruntime


class OnnxRuntime(Backend):
    """Sessions of ONNX Runtime, one a bucket, optimised ahead of time for this CPU; streams share them.

    It has no bf16 kernels for CPUs.
    """

    name = "onnxruntime"
    kinds = frozenset({"fp32", "int8"})

    def version(self) -> str:
        """ONNX Runtime's."""
        return str(_onnxruntime().__version__)

    def compile(self, graph: Graph, rows: int) -> bytes:
        """An ONNX model, optimised by ONNX Runtime for this CPU."""
        ort = _onnxruntime()
        import torch

        try:
            with _quiet():
                program = torch.onnx.export(exported(graph, rows), dynamo=True, verbose=False)
        except ImportError as error:
            raise ConfigError(f"{error}; pip install 'larix[onnx]'") from error
        assert program is not None
        plain = program.model_proto.SerializeToString()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "optimised.onnx")
            options = _options(ort)
            options.optimized_model_filepath = str(path)
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
            ort.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
            return path.read_bytes()

    def load(self, graph: Graph, compiled: Iterable[tuple[int, bytes]], streams: int) -> Runner:
        """Read the models; StorageError if ONNX Runtime refuses one."""
        ort = _onnxruntime()
        options = _options(ort)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        sessions = {}
        for rows, model in compiled:
            try:
                sessions[rows] = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # its errors have no common kind but Exception
                raise StorageError(
                    f"ONNX Runtime refuses the artifact of {rows} rows: {error}; compile it again"
                ) from error
        return _Onnx(sessions)


def _options(ort: Any) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's talk of packages that nobody asked for."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class _Onnx:
    def __init__(self, sessions: Mapping[int, Any]) -> None:
        self._sessions = sessions
        self._names = [each.name for each in next(iter(sessions.values())).get_inputs()]

    def run(self, stream: int, rows: int, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        found: list[NDArray[Any]] = self._sessions[rows].run(
            None, dict(zip(self._names, arrays, strict=True))
        )
        return found
