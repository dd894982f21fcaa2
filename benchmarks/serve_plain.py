"""The net of `serve_net.py` as one would serve it without us: torch tables and the same network, eager or through OpenVINO.

Knows torch and numpy only, so that peers can load it in environments of their own.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from net import Net
from numpy.typing import NDArray
from torch import Tensor, nn

USER_IDS, ITEM_IDS, USER_NUMBERS, ITEM_NUMBERS = 18, 12, 38, 26
INPUTS = (
    ("user_ids", np.int64, (USER_IDS,)),
    ("user_numbers", np.float32, (USER_NUMBERS,)),
    ("item_ids", np.int64, (-1, ITEM_IDS)),
    ("item_numbers", np.float32, (-1, ITEM_NUMBERS)),
)
Score = Callable[..., NDArray[np.float32]]
Answer = Callable[[Mapping[str, Any]], dict[str, Any]]
TOLD = ("LARIX_PEER_FOLDER", "LARIX_PEER_BACKEND")  # a server's own processes learn from these what to load


class Plain(nn.Module):
    """Raw features of a request and its ``n`` candidates to probabilities ``[n, tasks]``."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        rows = np.load(folder / "rows.npy")
        tables, self.size, dim = rows.shape
        self.rows = nn.Embedding.from_pretrained(torch.from_numpy(rows.reshape(tables * self.size, dim)))
        self.register_buffer("first", torch.arange(tables) * self.size)
        self.net = Net().eval()
        self.net.load_state_dict(torch.load(folder / "net.pt", weights_only=True))

    def forward(
        self, user_ids: Tensor, user_numbers: Tensor, item_ids: Tensor, item_numbers: Tensor
    ) -> Tensor:
        n = item_ids.shape[0]
        user = self.rows(user_ids % self.size + self.first[:USER_IDS]).flatten().unsqueeze(0).expand(n, -1)
        items = self.rows(item_ids % self.size + self.first[USER_IDS:]).flatten(1)
        x = torch.cat([user, items, user_numbers.unsqueeze(0).expand(n, -1), item_numbers], dim=1)
        return torch.sigmoid(self.net(x))


def scorer(folder: Path, backend: str, threads: int = 1) -> Score:
    """What scores four arrays, as ``INPUTS`` has them; ``backend``: `torch` or `openvino`."""
    torch.set_num_threads(threads)
    module = Plain(folder).eval()
    if backend == "torch":

        def eager(*arrays: NDArray[Any]) -> NDArray[np.float32]:
            with torch.inference_mode():
                found: NDArray[np.float32] = module(*map(torch.from_numpy, arrays)).numpy()
            return found

        return eager
    import openvino

    example = {
        name: torch.zeros(
            [3 if size < 0 else size for size in shape], dtype=getattr(torch, np.dtype(dtype).name)
        )
        for name, dtype, shape in INPUTS
    }
    model = openvino.convert_model(module, example_input=example)
    model.reshape({name: openvino.PartialShape(list(shape)) for name, _, shape in INPUTS})
    settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    ready = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    names = [name for name, _, _ in INPUTS]

    def compiled(*arrays: NDArray[Any]) -> NDArray[np.float32]:
        return np.array(
            next(iter(ready.infer(dict(zip(names, arrays, strict=True)), share_inputs=True).values()))
        )

    return compiled


def told_scorer() -> Score:
    """By what the environment tells."""
    return scorer(Path(os.environ[TOLD[0]]), os.environ[TOLD[1]])


def told_answerer() -> Answer:
    """By what the environment tells."""
    return answerer(told_scorer())


def parsed(body: Mapping[str, Any]) -> list[NDArray[Any]]:
    """The four arrays of a request in JSON: `user` by column, `candidates` lists by column."""
    user, candidates = body["user"], body["candidates"]
    return [
        np.array([user[f"user_{at}"] for at in range(USER_IDS)], np.int64),
        np.array([user[f"user_number_{at}"] for at in range(USER_NUMBERS)], np.float32),
        np.array([candidates[f"item_{at}"] for at in range(ITEM_IDS)], np.int64).T.copy(),
        np.array([candidates[f"item_number_{at}"] for at in range(ITEM_NUMBERS)], np.float32).T.copy(),
    ]


def ranked(items: NDArray[np.int64], scores: NDArray[np.float32]) -> dict[str, Any]:
    """Items with their scores, best first."""
    value = scores.sum(axis=1)
    order = np.argsort(-value, kind="stable")
    return {"items": items[order].tolist(), "value": value[order].tolist(), "scores": scores[order].tolist()}


def answerer(score: Score) -> Answer:
    """From a request in JSON to an answer ready for it."""

    def answer(body: Mapping[str, Any]) -> dict[str, Any]:
        arrays = parsed(body)
        return ranked(arrays[2][:, 0], score(*arrays))

    return answer
