"""Back-ends behind one interface: torch eager, the oracle; OpenVINO; ONNX Runtime."""

from larix.compile.backends.backend import Backend, Runner
from larix.compile.backends.eager import Eager
from larix.compile.backends.onnx import OnnxRuntime
from larix.compile.backends.openvino import OpenVINO

__all__ = ["Backend", "Eager", "OnnxRuntime", "OpenVINO", "Runner"]
