"""The net of `serve_plain.py` behind Ray Serve: PORT WORKERS, in an environment that has it."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import ray
from ray import serve
from serve_plain import TOLD, told_answerer
from starlette.requests import Request
from starlette.responses import JSONResponse


@serve.deployment(ray_actor_options={"num_cpus": 1}, max_ongoing_requests=16)
class Net:
    def __init__(self) -> None:
        self.answer = told_answerer()

    async def __call__(self, request: Request) -> Any:
        return JSONResponse(self.answer(await request.json()))  # a plain dict would be sent in chunks


if __name__ == "__main__":
    env = {name: os.environ[name] for name in TOLD} | {"PYTHONPATH": str(Path(__file__).resolve().parent)}
    workers = int(sys.argv[2])
    ray.init(
        num_cpus=workers + 1, include_dashboard=False, logging_level="error", runtime_env={"env_vars": env}
    )
    options = {"host": "127.0.0.1", "port": int(sys.argv[1])}
    serve.start(http_options=options, logging_config={"log_level": "ERROR"})
    serve.run(Net.options(num_replicas=workers).bind())
    signal.pause()
