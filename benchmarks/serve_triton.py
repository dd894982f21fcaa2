"""The net of `serve_plain.py` behind Triton by PyTriton: PORT WORKERS, in an environment that has it."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from serve_plain import INPUTS, told_scorer

# PyTriton brings a Python of its own for its workers, 3.11.4 or so, and takes this one's library, in which multiprocessing since
# 3.11.5 asks locks what that Python's do not know. The library's own lock, written in Python, does.
_SHIM = """
import threading
from multiprocessing import resource_tracker
if not hasattr(threading.RLock(), "_recursion_count"):
    resource_tracker._resource_tracker._lock = threading._RLock()
"""


def with_shim() -> None:
    """Have interpreters that are started from now on look after that first."""
    folder = tempfile.mkdtemp()
    Path(folder, "sitecustomize.py").write_text(_SHIM)
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])


def function() -> Callable[[Any], Any]:
    score = told_scorer()

    def infer(requests: Any) -> Any:
        found = []
        for request in requests:
            scores = score(*(request.data[name] for name, _, _ in INPUTS))
            value = scores.sum(axis=1)
            order = np.argsort(-value, kind="stable")
            found.append({"scores": scores, "value": value, "order": order})
        return found

    return infer


if __name__ == "__main__":
    with_shim()
    config = TritonConfig(
        http_address="127.0.0.1", http_port=int(sys.argv[1]), allow_grpc=False, allow_metrics=False
    )
    with Triton(config=config) as server:
        server.bind(
            model_name="net",
            infer_func=[function() for _ in range(int(sys.argv[2]))],
            inputs=[Tensor(name=name, dtype=dtype, shape=shape) for name, dtype, shape in INPUTS],
            outputs=[
                Tensor(name="scores", dtype=np.float32, shape=(-1, 4)),
                Tensor(name="value", dtype=np.float32, shape=(-1,)),
                Tensor(name="order", dtype=np.int64, shape=(-1,)),
            ],
            config=ModelConfig(batching=False),
        )
        server.serve()
