"""Gates: experts that tasks share, and a scale for every scene. Knows nothing of what the tasks mean."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from larix.model.mlp import MLP, check_dropout, check_widths


@dataclass(frozen=True, kw_only=True, slots=True)
class MMoEConfig:
    """``experts`` MLPs, each of ``widths`` with ``dropout``."""

    experts: int = 4
    widths: tuple[int, ...] = (128, 64)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_widths(self, experts=self.experts, widths=self.widths)
        check_dropout(self, self.dropout)


class MMoE(nn.Module):
    """Multi-gate mixture of experts: every task mixes the experts by a softmax gate of its own (Ma et al.,
    KDD 2018).
    """

    def __init__(self, features: int, tasks: int, config: MMoEConfig) -> None:
        super().__init__()
        self.experts = nn.ModuleList(
            MLP(features, config.widths, config.dropout) for _ in range(config.experts)
        )
        self.gate = nn.Linear(features, tasks * config.experts)

    def forward(self, x: Tensor) -> Tensor:
        """``x [B, features]`` -> ``[B, tasks, widths[-1]]``."""
        results = torch.stack([expert(x) for expert in self.experts], dim=1)
        gates = torch.softmax(self.gate(x).unflatten(1, (-1, len(self.experts))).float(), dim=2)
        return torch.bmm(gates.to(results.dtype), results)


class SceneGate(nn.Module):
    """A factor between 0 and 2 for each column, by the scene: EPNet of Chang et al., "PEPNet", KDD 2023.

    The gate sees ``x`` too, but sends no gradient into it. It is born as the identity.
    """

    def __init__(self, scene: int, features: int, width: int = 32) -> None:
        super().__init__()
        self.hidden = nn.Linear(scene + features, width)
        self.scale = nn.Linear(width, features)
        nn.init.zeros_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)

    def forward(self, scene: Tensor, x: Tensor) -> Tensor:
        """``scene [B, S]``, ``x [B, features]`` -> ``[B, features]``."""
        hidden = torch.relu(self.hidden(torch.cat([scene, x.detach()], dim=1)))
        return x * (2 * torch.sigmoid(self.scale(hidden)))
