"""The multi-task net that compiling and serving are measured on: 1024 inputs of which 60% are the user's, 4 experts, 4 towers.

Knows torch only, so that peers can load it, too.
"""

import torch
from torch import Tensor, nn

INPUTS, USER, EXPERTS, WIDTHS, TASKS, TOWER = 1024, 614, 4, (512, 256), 4, 64


class Net(nn.Module):
    """MMoE with towers, as modellers write it."""

    def __init__(self) -> None:
        super().__init__()
        first, second = WIDTHS
        self.experts = nn.ModuleList(
            nn.Sequential(
                nn.Linear(INPUTS, first), nn.BatchNorm1d(first), nn.ReLU(), nn.Dropout(0.1), nn.Linear(first, second), nn.ReLU()
            )
            for _ in range(EXPERTS)
        )  # fmt: skip
        self.gates = nn.ModuleList(nn.Linear(INPUTS, EXPERTS) for _ in range(TASKS))
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(second, TOWER), nn.ReLU(), nn.Linear(TOWER, 1)) for _ in range(TASKS)
        )

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.stack([expert(x) for expert in self.experts], dim=1)
        gates = torch.stack([torch.softmax(gate(x), dim=1) for gate in self.gates], dim=1)
        mixed = torch.bmm(gates, hidden)
        return torch.cat([tower(mixed[:, task]) for task, tower in enumerate(self.towers)], dim=1)
