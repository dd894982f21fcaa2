"""Other servers: what they are installed from, how they are started over the net of `serve_plain.py`, and what they are asked.

Each has as many workers as cores, of one thread each, and is otherwise as its own guide has it. Knows nothing of larix.
"""

from dataclasses import dataclass, field
from pathlib import Path

from measure import PEERS

HERE = Path(__file__).resolve().parent
_NET = (["torch==2.13.0"], ["numpy==2.4.6", "openvino==2026.4.1"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """``package``: what its version is told of. ``route``: where requests go. ``health``: answers 200 when it is ready."""

    package: str
    route: str
    health: str
    requirements: list[str] = field(default_factory=list)
    program: tuple[str, ...] = ()


PEERS_BY_NAME = {
    "litserve": Peer(package="litserve", route="/predict", health="/health"),
    "bentoml": Peer(
        package="bentoml",
        route="/predict",
        health="/readyz",
        program=("bin/bentoml", "serve", "serve_bentoml:Net", "--host", "127.0.0.1", "--port", "{port}"),
    ),
    "ray": Peer(package="ray", route="/", health="/-/healthz", requirements=["ray[serve]==2.60.0"]),
    "torchserve": Peer(
        package="torchserve",
        route="/predictions/net",
        health="/ping",
        requirements=["torchserve", "torch-model-archiver", "setuptools<81", "pyyaml"],
    ),
    "triton": Peer(package="nvidia-pytriton", route="/v2/models/net/infer", health="/v2/models/net/ready"),
}


def requirements(name: str) -> tuple[list[str], ...]:
    """What `peer_python` installs for it: a list a step."""
    peer = PEERS_BY_NAME[name]
    return (*_NET, peer.requirements or [peer.package])


def command(name: str, python: str, port: int, workers: int) -> list[str]:
    """What starts it, in the folder of this file."""
    peer = PEERS_BY_NAME[name]
    if not peer.program:
        return [python, str(HERE / f"serve_{name}.py"), str(port), str(workers)]
    first, *rest = (word.format(port=port) for word in peer.program)
    return [str(PEERS / f"serve-{name}" / first), *rest]


def environment(plain: Path, backend: str, workers: int) -> dict[str, str]:
    """What its processes are told by; see ``serve_plain.TOLD``."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    told = {
        "LARIX_PEER_FOLDER": str(plain),
        "LARIX_PEER_BACKEND": backend,
        "LARIX_PEER_WORKERS": str(workers),
    }
    return {**threads, **told, "PYTHONPATH": str(HERE), "BENTOML_DO_NOT_TRACK": "True"}
