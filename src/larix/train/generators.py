"""The random generators that training draws from: their seeding, their state as data. Knows no run."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int) -> None:
    """Seed every process-wide generator, CUDA's included."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a ranker may draw from it
    torch.manual_seed(seed)


def states() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What ``restore`` needs to make every generator go on from here: a part for JSON, a part of tensors."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    plain = {
        "python": [version, list(words), gauss],
        "numpy": [kind, [int(key) for key in keys], position, has_gauss, cached],
    }
    tensors = {"torch": torch.get_rng_state()}
    for index, state in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ()):
        tensors[f"cuda.{index}"] = state
    return plain, tensors


def restore(plain: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Set every generator to what ``states`` returned; CUDA devices that are not here are left out."""
    version, words, gauss = plain["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = plain["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(tensors["torch"])
    for index in range(torch.cuda.device_count()):
        if f"cuda.{index}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda.{index}"], index)
