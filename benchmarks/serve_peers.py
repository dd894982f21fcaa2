"""Other servers over the net of `serve_plain.py`: NAME FOLDER BACKEND PORT WORKERS, in an interpreter that has that peer.

Each with as many workers as cores, of one thread each, and otherwise as its own guide has it. Knows nothing of larix.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
_COMMON = (["torch==2.13.0"], ["numpy==2.4.6", "openvino==2026.4.1"])
REQUIREMENTS = {
    "litserve": (*_COMMON, ["litserve"]),
    "bentoml": (*_COMMON, ["bentoml"]),
    "ray": (*_COMMON, ["ray[serve]==2.60.0"]),
    "torchserve": (*_COMMON, ["torchserve", "torch-model-archiver", "setuptools<81", "pyyaml"]),
    "triton": (*_COMMON, ["nvidia-pytriton"]),
}
PACKAGES = {name: name for name in REQUIREMENTS} | {"triton": "nvidia-pytriton"}
ROUTES = {
    "litserve": "/predict",
    "bentoml": "/predict",
    "ray": "/",
    "torchserve": "/predictions/net",
    "triton": "/v2/models/net/infer",
}
HEALTH = {
    "litserve": "/health",
    "bentoml": "/readyz",
    "ray": "/-/healthz",
    "torchserve": "/ping",
    "triton": "/v2/health/ready",
}
_SETTINGS = "LARIX_PEER_FOLDER", "LARIX_PEER_BACKEND"  # what a server's own processes are told by


def _answerer() -> Callable[[Any], Any]:
    from serve_plain import answerer

    return answerer(Path(os.environ[_SETTINGS[0]]), os.environ[_SETTINGS[1]])


def litserve(port: int, workers: int) -> None:
    import litserve as ls

    class Api(ls.LitAPI):  # type: ignore[misc]
        def setup(self, device: str) -> None:
            self.answer = _answerer()

        def predict(self, request: Any) -> Any:
            return self.answer(request)

    server = ls.LitServer(Api(), accelerator="cpu", workers_per_device=workers, timeout=30)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")


def bentoml(port: int, workers: int) -> None:
    source = (
        "import sys\nsys.path.insert(0, {here!r})\nimport bentoml\nfrom serve_peers import _answerer\n\n"
        "@bentoml.service(workers={workers}, traffic={{'timeout': 30}})\nclass Net:\n"
        "    def __init__(self) -> None:\n        self.answer = _answerer()\n\n"
        "    @bentoml.api\n    def predict(self, user: dict, candidates: dict) -> dict:\n"
        "        return self.answer({{'user': user, 'candidates': candidates}})\n"
    )
    folder = tempfile.mkdtemp()
    Path(folder, "service.py").write_text(source.format(here=str(HERE), workers=workers))
    words = [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        "service:Net",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    env = {**os.environ, "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": folder}
    os.chdir(folder)
    os.execvpe(words[0], words, env)


def ray(port: int, workers: int) -> None:
    import signal

    import ray as cluster
    from ray import serve
    from starlette.requests import Request

    env = {name: os.environ[name] for name in _SETTINGS} | {"PYTHONPATH": str(HERE)}
    cluster.init(
        num_cpus=workers + 1, include_dashboard=False, logging_level="error", runtime_env={"env_vars": env}
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"log_level": "ERROR"})

    @serve.deployment(num_replicas=workers, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=16)
    class Net:
        def __init__(self) -> None:
            self.answer = _answerer()

        async def __call__(self, request: Request) -> Any:
            return self.answer(await request.json())

    serve.run(Net.bind())
    signal.pause()


def torchserve(port: int, workers: int) -> None:
    folder = Path(tempfile.mkdtemp())
    (folder / "handler.py").write_text(
        f"import sys\nsys.path.insert(0, {str(HERE)!r})\nfrom serve_peers import _answerer\n\n"
        "class Handler:\n    def initialize(self, context):\n        self.answer = _answerer()\n\n"
        "    def handle(self, data, context):\n"
        "        return [self.answer(each.get('body') or each.get('data')) for each in data]\n"
    )
    (folder / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{port}\nmanagement_address=http://127.0.0.1:{port + 1}\n"
        f"metrics_address=http://127.0.0.1:{port + 2}\ndefault_workers_per_model={workers}\nnumber_of_netty_threads=2\n"
        "job_queue_size=1000\ndisable_system_metrics=true\nmodel_metrics_auto_detect=false\n"
    )
    programs = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    env |= dict.fromkeys(("TEMP", "LOG_LOCATION", "METRICS_LOCATION"), str(folder))
    archive = [
        sys.executable,
        "-m",
        "model_archiver.model_packaging",
        "--model-name",
        "net",
        "--version",
        "1",
    ]
    archive += ["--handler", str(folder / "handler.py"), "--export-path", str(folder)]
    subprocess.run(archive, check=True, env=env)
    words = [
        str(programs / "torchserve"),
        "--start",
        "--foreground",
        "--ncs",
        "--disable-token-auth",
        "--model-store",
        str(folder),
    ]
    words += ["--models", "net.mar", "--ts-config", str(folder / "config.properties")]
    os.execvpe(words[0], words, env)


def triton(port: int, workers: int) -> None:
    import numpy as np
    from pytriton.model_config import ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig
    from serve_plain import INPUTS, scorer

    def function() -> Any:
        score = scorer(Path(os.environ[_SETTINGS[0]]), os.environ[_SETTINGS[1]])

        def infer(requests: Any) -> Any:
            found = []
            for request in requests:
                scores = score(*(request.data[name] for name, _, _ in INPUTS))
                value = scores.sum(axis=1)
                found.append({"scores": scores, "value": value, "order": np.argsort(-value, kind="stable")})
            return found

        return infer

    config = TritonConfig(
        http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False, log_verbose=0
    )
    with Triton(config=config) as server:
        server.bind(
            model_name="net",
            infer_func=[function() for _ in range(workers)],
            inputs=[Tensor(name=name, dtype=dtype, shape=shape) for name, dtype, shape in INPUTS],
            outputs=[
                Tensor(name="scores", dtype=np.float32, shape=(-1, 4)),
                Tensor(name="value", dtype=np.float32, shape=(-1,)),
                Tensor(name="order", dtype=np.int64, shape=(-1,)),
            ],
            config=ModelConfig(batching=False, max_batch_size=0),
        )
        server.serve()


def main() -> None:
    name, folder, backend, port, workers = sys.argv[1:]
    os.environ |= {_SETTINGS[0]: folder, _SETTINGS[1]: backend}
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    peers = {"litserve": litserve, "bentoml": bentoml, "ray": ray, "torchserve": torchserve, "triton": triton}
    peers[name](int(port), int(workers))


if __name__ == "__main__":
    main()
