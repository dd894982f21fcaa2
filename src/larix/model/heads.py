"""Task heads: one small tower for each task, one logit each. Knows nothing of labels or losses."""

import torch
from torch import Tensor, nn

from larix.model.mlp import MLP


class Heads(nn.Module):
    """A tower of one hidden layer of ``width`` for each task; no two tasks share a weight."""

    def __init__(self, features: int, tasks: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.towers = nn.ModuleList(
            nn.Sequential(MLP(features, (width,), dropout), nn.Linear(width, 1)) for _ in range(tasks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``x [B, tasks, features]`` -> ``[B, tasks]``: task ``t`` reads ``x[:, t]`` only."""
        return torch.cat([tower(x[:, t]) for t, tower in enumerate(self.towers)], dim=1)
