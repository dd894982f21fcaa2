"""The net of `serve_plain.py` behind Triton by PyTriton: PORT WORKERS, in an environment that has it."""

import os
import sys
import sysconfig
from collections.abc import Callable
from typing import Any

import numpy as np
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from serve_plain import INPUTS, told_scorer


def with_own_library() -> None:
    """Have Triton's workers, which embed Python, embed this one and not what the system has of the same number.

    They take this one's modules, and a library a few fixes older than these does not go with them.
    """
    found = [sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH")]
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(each for each in found if each)


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
    with_own_library()
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
